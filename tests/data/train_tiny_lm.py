#!/usr/bin/env python3
"""Makes tiny-lm/: a small trained mixture-of-experts language model, its vocabulary and its goldens.

    apt-get install bible-kjv bible-kjv-text        # Debian 12, version 4.38 of both
    bible -l 1000 -f Gen1:1-Rev22:21 < /dev/null > kjv.txt
    python train_tiny_lm.py --text kjv.txt          # 20 to 30 minutes on two free cores

The text is the King James Bible as the Debian package bible-kjv-text 4.38 carries it (see
tiny-lm/LICENSE-DATA.md). A chapter is one document, a verse one line; one chapter of fifty is held out.
Seeds are fixed: the same versions (requirements.txt), thread count and kind of processor repeat the run, others
give a model like it.
"""
import argparse
import hashlib
import io
import json
import math
import os
import re
import time

import numpy as np
import sentencepiece
import torch
import transformers
from transformers import MixtralConfig, MixtralForCausalLM

import make_family_goldens as goldens

TEXT_SHA256 = "cd45f0c9cedab8e4439bd6486c8952c77cc8b0ecc5d1f6ae3513f2039f47229d"
VOCAB, CONTEXT = 1536, 256
STEPS, BATCH = 2500, 16
SCHEDULE = 3000  # the cosine would end here; at STEPS the rate is 8 % of the peak
PEAK_RATE, WARMUP, DECAY = 3e-3, 200, 0.1
ROUTER_STD = 0.2
ROUTER_BOUND = 0.02
THREADS = 2

CONFIG = dict(
    vocab_size=VOCAB, hidden_size=128, intermediate_size=128, num_hidden_layers=4, num_attention_heads=4,
    num_key_value_heads=2, num_local_experts=8, num_experts_per_tok=2, max_position_embeddings=512,
    rms_norm_eps=1e-5, rope_theta=10000.0, sliding_window=None, tie_word_embeddings=False,
    hidden_act="silu", attention_dropout=0.0, initializer_range=0.02, use_cache=True,
    output_router_logits=False, router_aux_loss_coef=0.01, router_jitter_noise=0.0, bos_token_id=1,
    eos_token_id=2)

# The golden is taken from the prompt whose routing and choices are farthest from a tie; the others are samples.
PROMPTS = [
    "In the beginning",
    "And the LORD said unto Moses,",
    "Then Jesus answered and said unto them,",
    "And it came to pass in those days, that the king said unto his servants, Go ye up to the city,",
    "Now these are the names of the sons of Israel which came into Egypt with their father, and dwelt there:",
    "And when the people saw that the morning was come, they rose up early, and went forth",
    "Hear, O Israel, the words which I speak unto thee this day; for the LORD thy God",
    "And he answered and said, I am thy servant; let my lord the king do",
    "The wise man feareth, and departeth from evil: but the fool",
    "And David said unto Jonathan, Behold, to morrow is the new moon, and",
    "Wherefore, my brethren, let us not be weary, but",
    "And the priest shall take of the blood of the bullock, and",
]


def read_chapters(path):
    """[chapter text], a verse a line, without the references."""
    with open(path, "rb") as f:
        data = f.read()
    digest = hashlib.sha256(data).hexdigest()
    assert digest == TEXT_SHA256, f"another text: sha256 {digest}"
    chapters, last = [], None
    for line in data.decode("ascii").splitlines():
        where, verse = line.split(" ", 1)
        chapter = where.rsplit(":", 1)[0]
        if chapter != last:
            chapters.append([])
            last = chapter
        chapters[-1].append(verse.strip())
    return ["\n".join(c) for c in chapters]


def train_vocabulary(chapters, directory):
    model = io.BytesIO()
    lines = [line for c in chapters for line in c.split("\n")]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=model, vocab_size=VOCAB, model_type="bpe",
        byte_fallback=True, character_coverage=1.0, normalization_rule_name="identity",
        remove_extra_whitespaces=False, split_digits=True, add_dummy_prefix=True,
        unk_id=0, bos_id=1, eos_id=2, pad_id=-1, num_threads=1, minloglevel=2)
    with open(f"{directory}/tokenizer.model", "wb") as f:
        f.write(model.getvalue())
    goldens.write_json(f"{directory}/tokenizer_config.json", {
        "add_bos_token": True, "add_eos_token": False, "bos_token": "<s>",
        "clean_up_tokenization_spaces": False, "eos_token": "</s>", "legacy": True,
        "model_max_length": CONFIG["max_position_embeddings"], "pad_token": None, "sp_model_kwargs": {},
        "tokenizer_class": "LlamaTokenizer", "unk_token": "<unk>", "use_default_system_prompt": False})
    return sentencepiece.SentencePieceProcessor(model_file=f"{directory}/tokenizer.model")


def published(state):
    """transformers' fused tensors -> the layout of published Mixtral files."""
    out = {}
    for name, t in state.items():
        if name.endswith(".experts.gate_up_proj"):
            base = name[: -len("gate_up_proj")].replace(".mlp.", ".block_sparse_moe.")
            for e in range(t.shape[0]):
                gate, up = t[e].chunk(2)
                out[f"{base}{e}.w1.weight"], out[f"{base}{e}.w3.weight"] = gate.contiguous(), up.contiguous()
        elif name.endswith(".experts.down_proj"):
            base = name[: -len("down_proj")].replace(".mlp.", ".block_sparse_moe.")
            for e in range(t.shape[0]):
                out[f"{base}{e}.w2.weight"] = t[e].contiguous()
        else:
            out[name.replace(".mlp.gate.", ".block_sparse_moe.gate.")] = t.contiguous()
    return dict(sorted(out.items(), key=lambda kv: [int(p) if p.isdigit() else p for p in re.split(r"(\d+)", kv[0])]))


@torch.no_grad()
def held_out_loss(model, stream):
    model.eval()
    n = (len(stream) - 1) // CONTEXT
    x = stream[: n * CONTEXT].view(n, CONTEXT)
    y = stream[1: n * CONTEXT + 1].view(n, CONTEXT)
    total = 0.0
    for i in range(0, n, 32):
        logits = model(x[i:i + 32]).logits
        total += torch.nn.functional.cross_entropy(logits.flatten(0, 1), y[i:i + 32].flatten(), reduction="sum").item()
    return total / (n * CONTEXT)


def split(chapters, sp):
    """Documents to train on, their tokens in a row, and the tokens of the held-out chapters."""
    docs = [[1] + sp.encode(c) + [2] for c in chapters]
    kept = [d for i, d in enumerate(docs) if i % 50 != 25]
    held = [d for i, d in enumerate(docs) if i % 50 == 25]

    def stream(which):
        return torch.tensor([t for d in which for t in d])

    return kept, stream(kept), stream(held)


def train(args, chapters, sp):
    torch.manual_seed(20240229)
    kept, text, val = split(chapters, sp)
    gen = torch.Generator().manual_seed(7)
    text = torch.cat([text, text[:CONTEXT + 1]])
    starts = torch.tensor(np.cumsum([0] + [len(d) for d in kept[:-1]]))
    print(f"{len(chapters)} chapters, {len(text)} tokens to train on, {len(val)} held out", flush=True)

    model = MixtralForCausalLM._from_config(
        MixtralConfig(**CONFIG), attn_implementation="sdpa", experts_implementation=args.experts)
    model.config.output_router_logits = True
    with torch.no_grad():
        for name, p in model.named_parameters():
            if ".mlp.gate." in name:  # decided routing from the start: far from ties after training, too
                p.normal_(0, ROUTER_STD, generator=gen)
            elif name.endswith(("o_proj.weight", "down_proj")):
                p.normal_(0, 0.02 / math.sqrt(2 * CONFIG["num_hidden_layers"]), generator=gen)
            elif p.dim() > 1:
                p.normal_(0, 0.05 if "embed" in name else 1 / math.sqrt(p.shape[-1]) * 0.6, generator=gen)
    print(f"{sum(p.numel() for p in model.parameters())} parameters", flush=True)
    decayed = [p for n, p in model.named_parameters() if p.dim() > 1 and ".mlp.gate." not in n]
    others = [p for n, p in model.named_parameters() if not (p.dim() > 1 and ".mlp.gate." not in n)]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": DECAY}, {"params": others, "weight_decay": 0.0}],
        lr=PEAK_RATE, betas=(0.9, 0.95), eps=1e-8)
    began = time.time()
    steps = args.steps or STEPS
    for step in range(steps):
        rate = PEAK_RATE * min((step + 1) / WARMUP, 0.5 + 0.5 * math.cos(math.pi * step / SCHEDULE) + 0.01)
        for group in optimizer.param_groups:
            group["lr"] = rate
        at = torch.randint(len(text) - CONTEXT - 1, (BATCH,), generator=gen)
        first = starts[torch.randint(len(starts), (BATCH,), generator=gen)]
        at = torch.where(torch.rand(BATCH, generator=gen) < 0.2, first, at)
        rows = text[at[:, None] + torch.arange(CONTEXT + 1)]
        model.train()
        out = model(rows[:, :-1])
        loss = torch.nn.functional.cross_entropy(out.logits.flatten(0, 1), rows[:, 1:].flatten())
        (loss + CONFIG["router_aux_loss_coef"] * out.aux_loss).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % 100 == 99 or step < 3 or step == steps - 1:
            extra = f" held out {held_out_loss(model, val):.4f}" if step % 500 == 499 or step == steps - 1 else ""
            print(f"step {step + 1} loss {loss.item():.4f} balance {out.aux_loss.item():.3f}"
                  f" {time.time() - began:.0f} s{extra}", flush=True)
            if args.snapshot and extra:
                torch.save(model.state_dict(), args.snapshot)
    return model


@torch.no_grad()
def write_tiny_golden(directory, sp):
    model = goldens.load_model(directory)
    goldens.check_loaded(model, directory)
    routers = goldens.Routers(model)
    samples, best = [], None
    for text in PROMPTS:
        ids = [1] + sp.encode(text)
        cont = goldens.greedy(model, torch.tensor([ids]), goldens.CONTINUATION)[0][0].tolist()
        routers.clear()
        logits = model(torch.tensor([ids + cont]), use_cache=False).logits[0]
        close = (routers.margin(len(logits)) < ROUTER_BOUND).float().mean().item()
        choice = goldens.top2_margin(logits)[len(ids) - 1:-1].min().item()
        print(f"{len(ids)} tokens, {100 * close:.1f} % below the bound, closest choice {choice:.3f}: "
              f"{sp.decode(ids + cont)!r}", flush=True)
        if len(ids) >= 12 and close <= 0.05 and 2 not in cont and (best is None or choice > best[0]):
            best = (choice, text)
        samples.append({"prompt_text": text, "prompt": ids, "continuation": cont,
                        "continuation_text": continuation_text(sp, ids, cont), "closest_choice": choice})
    assert best, "no prompt with few doubtful positions"
    prompt = [1] + sp.encode(best[1])
    model = goldens.load_model(directory)
    golden, logits, margin = goldens.write_goldens(directory, model, prompt, ROUTER_BOUND)
    tokens = golden["prompt"] + golden["continuation"]
    golden["native_dtype_logit_error"] = goldens.native_error(directory, torch.bfloat16, tokens, logits)
    golden["prompt_text"] = best[1]
    golden["continuation_text"] = continuation_text(sp, golden["prompt"], golden["continuation"])
    golden["samples"] = [s for s in samples if s["prompt_text"] != best[1]]
    goldens.dump_golden(f"{directory}/golden.json", golden)
    print(best[1], golden["continuation_text"], golden["native_dtype_logit_error"],
          "below", golden["positions_below_router_margin_bound"], "margins", sorted(margin.tolist())[:8])


def continuation_text(sp, prompt, cont):
    whole, head = sp.decode(prompt + cont), sp.decode(prompt)
    assert whole.startswith(head)
    return whole[len(head):]


@torch.no_grad()
def describe(directory, sp, val):
    """Held-out loss of the stored weights and the share of each expert, for the log."""
    model = goldens.load_model(directory)
    routers = goldens.Routers(model)
    model(val[: 16 * CONTEXT].view(16, CONTEXT))
    for layer, l in enumerate(routers.logits):
        share = torch.nn.functional.one_hot(l.topk(2).indices, 8).sum((0, 1)) / (2 * len(l))
        print(f"layer {layer}: shares {[round(x, 3) for x in share.tolist()]} logit std {l.std():.2f}")
    m = routers.margin(16 * CONTEXT)
    print("router margin quantiles 1,5,10 %:", [round(m.quantile(q).item(), 4) for q in (.01, .05, .1)])
    print(f"held-out loss of the stored model: {held_out_loss(model, val):.4f} nats a token")


def write_checkpoint(directory, state):
    config = dict(CONFIG, architectures=["MixtralForCausalLM"], model_type="mixtral", torch_dtype="bfloat16")
    goldens.write_json(f"{directory}/config.json", dict(sorted(config.items())))
    goldens.write_json(f"{directory}/generation_config.json", {
        "_from_model_config": True, "bos_token_id": 1, "eos_token_id": 2,
        "transformers_version": transformers.__version__})
    goldens.save_tensors(published({k: v.to(torch.bfloat16) for k, v in state.items()}),
                         f"{directory}/model.safetensors")


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", required=True)
    parser.add_argument("--out", default=os.path.join(here, "tiny-lm"))
    parser.add_argument("--steps", type=int, default=0, help="stop early (to try things)")
    parser.add_argument("--experts", default="eager", help="transformers' experts_implementation for training")
    parser.add_argument("--snapshot", help="save the float32 state here now and then")
    parser.add_argument("--goldens-only", action="store_true", help="the checkpoint exists: only its goldens")
    args = parser.parse_args()
    torch.set_num_threads(THREADS)
    transformers.utils.logging.disable_progress_bar()
    chapters = read_chapters(args.text)
    os.makedirs(args.out, exist_ok=True)
    if args.goldens_only:
        sp = sentencepiece.SentencePieceProcessor(model_file=f"{args.out}/tokenizer.model")
        write_tiny_golden(args.out, sp)
        return
    sp = train_vocabulary(chapters, args.out)
    write_checkpoint(args.out, train(args, chapters, sp).state_dict())
    describe(args.out, sp, split(chapters, sp)[2])
    write_tiny_golden(args.out, sp)


if __name__ == "__main__":
    main()
