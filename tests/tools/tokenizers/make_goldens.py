#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Makes data/: small tokenizers and the ids that the Python packages give.

Run it by hand after changing the texts below; the tests read only its output.
Needs the packages tokenizers and sentencepiece.
"""

import io
import json
import os
import random
import shutil

import sentencepiece
import tokenizers
from tokenizers import Regex, decoders, models, normalizers
from tokenizers import pre_tokenizers, processors, trainers

HERE = os.path.dirname(os.path.abspath(__file__))
DATA = os.path.join(HERE, "data")

QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*"
    r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+"
    r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CJK_RANGE = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7a3]+"

# Article 1 of the Universal Declaration of Human Rights.
DECLARATION = [
    "All human beings are born free and equal in dignity and rights. They are "
    "endowed with reason and conscience and should act towards one another in "
    "a spirit of brotherhood.",
    "Tous les êtres humains naissent libres et égaux en dignité et en droits. "
    "Ils sont doués de raison et de conscience et doivent agir les uns envers "
    "les autres dans un esprit de fraternité.",
    "Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind "
    "mit Vernunft und Gewissen begabt und sollen einander im Geiste der "
    "Brüderlichkeit begegnen.",
    "Tất cả mọi người sinh ra đều được tự do và bình đẳng về nhân phẩm và "
    "quyền.",
    "Все люди рождаются свободными и равными в своем достоинстве и правах. Они "
    "наделены разумом и совестью и должны поступать в отношении друг друга в "
    "духе братства.",
    "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα "
    "δικαιώματα.",
    "يولد جميع الناس أحرارًا متساوين في الكرامة والحقوق. وقد وهبوا عقلًا "
    "وضميرًا وعليهم أن يعامل بعضهم بعضًا بروح الإخاء.",
    "כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם.",
    "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और "
    "समानता प्राप्त है।",
    "人人生而自由,在尊严和权利上一律平等。他们赋有理性和良心,并应以兄弟关系的"
    "精神相对待。",
    "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて"
    "平等である。",
    "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.",
    "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ",
]

CODE = [
    "def factorial(n: int) -> int:\n    if n <= 1:\n        return 1\n"
    "    return n * factorial(n - 1)\n\n\nprint([factorial(i) for i in "
    "range(10)])\n",
    "#include <stdio.h>\n\nint main(int argc, char **argv) {\n\tfor (int i = "
    "0; i < argc; ++i) {\n\t\tprintf(\"%d: %s\\n\", i, argv[i]);\n\t}\n\t"
    "return 0;\n}\n",
    "SELECT name, COUNT(*) AS n FROM users WHERE age >= 18 GROUP BY name;\n",
    "{\"key\": [1, 2.5, -3e10, null, true], \"nested\": {\"a\": \"b\"}}\n",
]

TEXTS = DECLARATION + CODE + [
    "",
    " ",
    "a",
    "Hello world",
    " Hello world",
    "  Hello   world  ",
    "Hello\nworld\r\nagain\r\n\r\n\r\nend",
    "\n\n\n",
    " \n \n ",
    "a\t\tb\t c",
    "trailing spaces     ",
    "     leading spaces",
    "x" + " " * 100 + "y",
    " " * 50,
    "\t" * 20 + "\n" * 20 + " " * 20 + "z",
    "word" * 100,
    "abc" * 200 + "!" * 300,
    "I'm you're he's we'll they've I'd don't CAN'T I'LL We'Re it'S",
    "'s't're've'm'll'd 's 't ''s '' ' 'x",
    "\u2019s \u2018quoted\u2019 \u201cdouble\u201d",
    "it'\u017f K: \u212a '\u017f'T",
    "0 1 12 123 1234 12345 1234567890 3.14159 1,000,000 0xFF 1e-5",
    "\u0661\u0662\u0663 \u0967\u0968\u0969 \u00bd \u2167 \u2460 \u00b2",
    "Stra\u00dfe \u0130stanbul \u0131 \ufb01ne \u1e9e",
    # Composed and decomposed, marks out of order, long runs of marks.
    "caf\u00e9 cafe\u0301 \u1e69 s\u0323\u0307 s\u0307\u0323 \u00c5 \u212b A\u030a",
    "q\u0307\u0323 q\u0323\u0307 \u0958 \u0915\u093c \u0344",
    "\u1100\u1161\u11a8 \uac01 \uac00\u11a8 \u1112\u1161\u11ab",
    "e" + "\u0301\u0327\u0316" * 20 + "x",
    "\u0300alone \u0300\u0301",
    "\U0001f600 \U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 "
    "\U0001f44d\U0001f3fd \U0001f1e9\U0001f1ea \u2764\ufe0f 1\ufe0f\u20e3",
    "\U0001d54f\U0001d7d8 \U00010348 \U0001e900 \U00020000\U0002a6df",
    "\u0000\u0001\u0002 \u001b[31mred\u001b[0m \u007f \u0080\u0085\u009f",
    "a\u00a0b\u2003c\u2009d\u200be\u3000f\u180eg\u2028h\u2029i\ufeffj\u205fk",
    "\u180e\u180e \u180e x \u180ex",
    "\ufffd \ufffe \uffff \U0010ffff \ue000",
    "https://example.com/a?b=c&d=%20#frag user@example.org",
    "C:\\path\\to\\file ~/x $HOME `ls` |&|| -- -> => != <= >>>",
    "snake_case camelCase PascalCase SCREAMING_CASE kebab-case x_1_2",
    "Mixed \u043f\u0440\u0438\u0432\u0435\u0442 \u4f60\u597d "
    "\u3053\u3093\u306b\u3061\u306f \u0634\u0643\u0631\u0627\u064b end",
    "\u4f60\u597d\uff0c\u4e16\u754c\uff01\uff11\uff12\uff13\u3002",
    "\u202eright to left\u202c \u200fmarks\u200e",
    "\u0e20\u0e32\u0e29\u0e32\u0e44\u0e17\u0e22 \u0e17\u0e35\u0e48\u0e2a\u0e38\u0e14",
    "\u0928\u092e\u0938\u094d\u0924\u0947 \u0915\u094d\u0937\u093f",
    "\u2581under\u2581score \u2581 \u2581\u2581",
    "<unk><s></s> <pad> <0x41>",
    "<s>Hello</s> and <s> again </s>",
    "<|endoftext|>",
    "a<|endoftext|>b <|endoftext|> c<|endoftext|><|endoftext|>",
    "<|im_start|>user\nHi there<|im_end|>\n<|im_start|>assistant\n",
    "<|endoftext <|endoftext|",
    "strip   <|strip|>   both <|strip|><|strip|> x\n<|strip|>\ny",
    "WORD xWORD WORDx WORD. _WORD \u00e9WORD WORD",
    "caf\u00e9tok cafe\u0301tok",
    "if x:\n" + "".join(" " * (4 * i) + "y\n" for i in range(8)),
]


def random_texts():
    rng = random.Random(20240229)
    pools = [
        "abcdefghijklmnopqrstuvwxyz", "ABCXYZ", "0123456789", " ", " ", "  ",
        "\n", "\r\t\n ", ".,;:!?'\"()[]{}<>/\\|@#$%^&*-_=+~`",
        "\u00e9\u00fc\u00df\u00f1\u0142\u0130\u0131\u017f\u212a",
        "\u0430\u0431\u0432\u0414\u0416", "\u03b1\u03b2\u03a3\u03c2",
        "\u0627\u0628\u064b\u0651\u0661", "\u05d0\u05d1\u05bc",
        "\u0915\u094d\u093c\u093f\u0967", "\u4e00\u4eba\u9fa5\u3042\u30ab",
        "\uac00\u1100\u1161\u11a8", "\u0e01\u0e35\u0e48",
        "\u0301\u0323\u0327\u0307\u030a\u0345",
        "\U0001f600\U0001f468\u200d\ufe0f\U0001f3fd",
        "\u00a0\u2003\u3000\u0085\u180e\u2028\u200b\u1680",
        "\u0000\u0007\u001f\u007f", "\u00bd\u2167\u2460\u00b2",
    ]
    texts = []
    for _ in range(120):
        text = ""
        for _ in range(rng.randrange(1, 14)):
            pool = rng.choice(pools)
            text += "".join(
                rng.choice(pool) for _ in range(rng.randrange(1, 6)))
        texts.append(text)
    return texts


# texts.json has each text once; the cases name it by its place.
ALL_TEXTS = TEXTS + random_texts()
SOME_TEXTS = TEXTS[:6] + TEXTS[13:40] + TEXTS[45:60] + ALL_TEXTS[-40:]


def bpe(pre_tokenizer, normalizer, vocab_size):
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, min_frequency=2, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    # Twice, so that every word of the small corpus is frequent enough.
    tokenizer.train_from_iterator((DECLARATION + CODE + TEXTS[-5:]) * 2, trainer)
    return tokenizer


def split(regex, behavior="isolated", invert=False):
    return pre_tokenizers.Split(Regex(regex), behavior, invert)


def split_then_bytes(*steps):
    return pre_tokenizers.Sequence(list(steps) + [
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def neox():
    tokenizer = bpe(pre_tokenizers.ByteLevel(add_prefix_space=False),
                    normalizers.NFC(), 1100)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A:0", pair="$A:0 $B:1", special_tokens=[])
    tokenizer.add_special_tokens(["<|endoftext|>", "<|padding|>"])
    added = tokenizers.AddedToken
    tokenizer.add_tokens([" " * n for n in range(24, 1, -1)])
    tokenizer.add_tokens([
        added("WORD", single_word=True),
        added("<|strip|>", lstrip=True, rstrip=True, normalized=False),
        added("caf\u00e9tok", normalized=True),
    ])
    return tokenizer


def qwen2():
    tokenizer = bpe(split_then_bytes(split(QWEN2)), normalizers.NFC(), 1100)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.add_special_tokens(
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    return tokenizer


def llama3():
    tokenizer = bpe(split_then_bytes(split(LLAMA3)), None, 1100)
    tokenizer.add_special_tokens(
        ["<|begin_of_text|>", "<|end_of_text|>", "<|endoftext|>"])
    bos = tokenizer.token_to_id("<|begin_of_text|>")
    tokenizer.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=True),
        processors.TemplateProcessing(
            single="<|begin_of_text|> $A", pair="<|begin_of_text|> $A $B",
            special_tokens=[("<|begin_of_text|>", bos)]),
    ])
    return tokenizer


def gpt2_prefix():
    """GPT-2 with the space in front, and BOS and EOS."""
    tokenizer = bpe(pre_tokenizers.ByteLevel(add_prefix_space=True), None, 400)
    tokenizer.add_special_tokens(["<s>", "</s>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[
            (t, tokenizer.token_to_id(t)) for t in ("<s>", "</s>")])
    return tokenizer


def several_splits():
    """The splits of DeepSeek-V2, and its normalizer that does nothing."""
    return bpe(split_then_bytes(
        split("[\r\n]"), split(r"\s?[A-Za-z\u00b5\u00c0-\u00d6]+"),
        split(r"\s?[!-/:-~\uff01-\uff0f]+"), split(r"\s+$"),
        split(CJK_RANGE), pre_tokenizers.Digits(individual_digits=True)),
        normalizers.Sequence([]), 400)


def o200k():
    """gpt-oss: its split, its special tokens, and nothing around a text."""
    tokenizer = bpe(split_then_bytes(split(O200K)), None, 400)
    tokenizer.add_special_tokens([
        "<|startoftext|>", "<|endoftext|>", "<|return|>", "<|channel|>",
        "<|start|>", "<|end|>", "<|message|>", "<|call|>"])
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer


def behaviors(name, invert):
    """One splitting behavior; digits are what is split at."""
    return bpe(split_then_bytes(
        split(r"\p{N}|\s", name, invert),
        pre_tokenizers.Digits(individual_digits=False)), None, 300)


def write_json(path, value):
    with open(path, "w", encoding="utf-8") as file:
        json.dump(value, file, ensure_ascii=True, separators=(",", ":"))
        file.write("\n")


def make_bpe(name, tokenizer, texts, config=None, string_merges=False,
             ignore_merges=False):
    folder = os.path.join(DATA, name)
    os.makedirs(folder)
    path = os.path.join(folder, "tokenizer.json")
    content = json.loads(tokenizer.to_str())
    if ignore_merges:
        # Some merges fewer, so that words that are tokens differ from what the
        # merges make of them.
        del content["model"]["merges"][5::7]
        content["model"]["ignore_merges"] = True
    if string_merges:
        content["model"]["merges"] = [
            " ".join(pair) for pair in content["model"]["merges"]]
    with open(path, "w", encoding="utf-8") as file:
        json.dump(content, file, ensure_ascii=False, separators=(",", ":"))
        file.write("\n")
    if config is not None:
        write_json(os.path.join(folder, "tokenizer_config.json"), config)

    tokenizer = tokenizers.Tokenizer.from_file(path)
    # What goes around a text does not depend on it.
    frame = tokenizer.encode("a1 b").ids
    core = tokenizer.encode("a1 b", add_special_tokens=False).ids
    at = frame.index(core[0])
    prefix, suffix = frame[:at], frame[at + len(core):]
    cases = []
    for text in texts:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        assert tokenizer.encode(text).ids == prefix + ids + suffix
        cases.append(case(text, ids, tokenizer.decode(ids),
                          tokenizer.decode(ids, skip_special_tokens=False)))
    write_json(os.path.join(folder, "expected.json"), {
        "vocabSize": tokenizer.get_vocab_size(),
        "prefix": prefix, "suffix": suffix, "cases": cases})


def case(text, ids, decoded, decoded_all):
    """Leaves out what is as one would expect, to keep the files small."""
    result = {"text": ALL_TEXTS.index(text), "ids": ids}
    if decoded != text:
        result["decoded"] = decoded
    if decoded_all != decoded:
        result["decodedAll"] = decoded_all
    return result


def make_sentencepiece(name, texts, specials, config, **options):
    folder = os.path.join(DATA, name)
    os.makedirs(folder)
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter((DECLARATION + "".join(CODE).splitlines()) * 2),
        model_writer=model, num_threads=1, hard_vocab_limit=False,
        minloglevel=2, **options)
    with open(os.path.join(folder, "tokenizer.model"), "wb") as file:
        file.write(model.getvalue())
    write_json(os.path.join(folder, "tokenizer_config.json"), config)

    processor = sentencepiece.SentencePieceProcessor(
        model_proto=model.getvalue())
    legacy = config.get("legacy", True)
    cases = []
    for text in texts:
        # Special tokens come out first. Each stretch between them is a text of
        # its own, and without "legacy" only a first one gets a space in front.
        ids = []
        rest = text
        first = True
        while rest:
            at, token = min(
                ((rest.find(t), t) for t in specials if t in rest),
                default=(len(rest), ""))
            if at:
                ids += encode_part(processor, rest[:at], legacy or first)
            if token:
                ids.append(specials[token])
            rest = rest[at + len(token):]
            first = False
        # With special tokens left out; the package cannot spell them.
        decoded = processor.decode(
            [i for i in ids if i not in specials.values()])
        cases.append(case(text, ids, decoded, decoded))
    write_json(os.path.join(folder, "expected.json"), {
        "vocabSize": processor.get_piece_size(),
        "prefix": [1] if config.get("add_bos_token", True) else [],
        "suffix": [2] if config.get("add_eos_token", False) else [],
        "cases": cases})


def encode_part(processor, text, with_space):
    if with_space:
        return processor.encode(text)
    # As Hugging Face's package gets rid of the space: the unknown token takes
    # it, and is cut off again.
    lead = processor.encode("<unk>")
    ids = processor.encode("<unk>" + text)
    assert ids[:len(lead)] == lead
    return ids[len(lead):]


def main():
    shutil.rmtree(DATA, ignore_errors=True)
    os.makedirs(DATA)
    write_json(os.path.join(DATA, "texts.json"), ALL_TEXTS)
    texts = ALL_TEXTS
    some = SOME_TEXTS

    make_bpe("neox", neox(), texts, {
        "tokenizer_class": "GPTNeoXTokenizer", "add_bos_token": False,
        "add_eos_token": False, "bos_token": None,
        "eos_token": "<|endoftext|>"}, string_merges=True)
    make_bpe("qwen2", qwen2(), texts, {
        "tokenizer_class": "Qwen2Tokenizer", "add_bos_token": False,
        "bos_token": None,
        "eos_token": {"__type": "AddedToken", "content": "<|im_end|>"}})
    make_bpe("llama3", llama3(), texts, {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>"},
        ignore_merges=True)
    make_bpe("gpt2-prefix-space", gpt2_prefix(), some)
    make_bpe("several-splits", several_splits(), some)
    make_bpe("o200k", o200k(), texts, {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|startoftext|>", "eos_token": "<|return|>",
        "pad_token": "<|endoftext|>", "clean_up_tokenization_spaces": False})
    for name in ("removed", "merged_with_previous", "merged_with_next",
                 "contiguous"):
        make_bpe("split-" + name.replace("_", "-"), behaviors(name, False),
                 some)
    make_bpe("split-removed-inverted", behaviors("removed", True), some)

    options = dict(byte_fallback=True, normalization_rule_name="identity",
                   remove_extra_whitespaces=False, split_digits=True,
                   allow_whitespace_only_pieces=True, character_coverage=0.98)
    added = {
        str(i): {"content": t, "lstrip": False, "normalized": False,
                 "rstrip": False, "single_word": False, "special": True}
        for i, t in enumerate(("<unk>", "<s>", "</s>"))}
    specials = {"<unk>": 0, "<s>": 1, "</s>": 2}
    make_sentencepiece("llama2", texts, specials, {
        "tokenizer_class": "LlamaTokenizer", "add_bos_token": True,
        "add_eos_token": False, "bos_token": "<s>", "eos_token": "</s>",
        "legacy": True, "added_tokens_decoder": added},
        model_type="bpe", vocab_size=1200, **options)
    make_sentencepiece("unigram", some, {}, {
        "tokenizer_class": "LlamaTokenizer", "add_bos_token": False,
        "add_eos_token": True, "eos_token": "</s>"},
        model_type="unigram", vocab_size=600,
        **dict(options, remove_extra_whitespaces=True))


if __name__ == "__main__":
    main()
