// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Registers the tier dialect with its attributes and types, and verifies those.
#include "dialects/tier/IR/Tier.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace headrace::tier;

#include "dialects/tier/IR/TierDialect.cpp.inc"

#include "dialects/tier/IR/TierEnums.cpp.inc"

#define GET_ATTRDEF_CLASSES
#include "dialects/tier/IR/TierAttrs.cpp.inc"

#define GET_TYPEDEF_CLASSES
#include "dialects/tier/IR/TierTypes.cpp.inc"

void headrace::tier::TierDialect::initialize() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "dialects/tier/IR/TierAttrs.cpp.inc"
      >();

  addTypes<
#define GET_TYPEDEF_LIST
#include "dialects/tier/IR/TierTypes.cpp.inc"
      >();

  addOperations<
#define GET_OP_LIST
#include "dialects/tier/IR/TierOps.cpp.inc"
      >();
}

LogicalResult LevelAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                                StringRef name, uint64_t bytes, uint64_t count,
                                uint64_t alignment) {
  if (name.empty()) // tier.level C1
    return emitError() << "expected a level name, but got an empty one";
  if (bytes == 0 || count == 0) // tier.level C2
    return emitError() << "expected bytes and count of level '" << name
                       << "' to be positive, but got " << bytes << " and "
                       << count;
  if (alignment == 0 || (alignment & (alignment - 1))) // tier.level C3
    return emitError() << "expected the alignment of level '" << name
                       << "' to be a power of two, but got " << alignment;
  return success();
}

LogicalResult LinkAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                               StringRef source, StringRef target,
                               uint64_t bandwidth, uint64_t latency,
                               uint64_t count, StringRef bus,
                               uint64_t request) {
  if (bandwidth == 0) // tier.link C1
    return emitError() << "expected the bandwidth of link '" << source
                       << "' to '" << target << "' to be positive, but got 0";
  if (count == 0) // tier.link C2
    return emitError() << "expected the count of link '" << source << "' to '"
                       << target << "' to be positive, but got 0";
  if (request > bandwidth) // tier.link C3
    return emitError() << "expected one request on link '" << source << "' to '"
                       << target << "' to get at most " << bandwidth
                       << " bytes a second, but got " << request;
  return success();
}

LogicalResult ComputeAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                                  StringRef type, uint64_t operations,
                                  uint64_t count) {
  if (!llvm::is_contained({"f32", "tf32", "bf16", "f16", "f8", "i8"}, type))
    return emitError() << "expected type to be one of f32, tf32, bf16, f16, "
                          "f8, i8, but got '" // tier.compute C1
                       << type << "'";
  if (operations == 0 || count == 0) // tier.compute C2
    return emitError() << "expected operations and count of '" << type
                       << "' to be positive, but got " << operations << " and "
                       << count;
  return success();
}

LogicalResult MachineAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                                  StringRef name, ArrayRef<LevelAttr> levels,
                                  ArrayRef<LinkAttr> links,
                                  ArrayRef<ComputeAttr> compute, uint64_t) {
  if (levels.empty()) // tier.machine C1
    return emitError() << "expected machine '" << name
                       << "' to have at least one level, but got none";
  llvm::StringSet<> names;
  for (LevelAttr level : levels)
    if (!names.insert(level.getName()).second) // tier.machine C1
      return emitError() << "expected level names of machine '" << name
                         << "' to be unique, but got '" << level.getName()
                         << "' twice";
  llvm::StringSet<> paths;
  for (LinkAttr link : links) {
    for (StringRef end : {link.getSource(), link.getTarget()})
      if (!names.contains(end)) // tier.machine C2
        return emitError() << "expected the ends of a link to be levels of "
                           << "machine '" << name << "', but got '" << end
                           << "'";
    std::string path =
        ("'" + link.getSource() + "' to '" + link.getTarget() + "'").str();
    if (!paths.insert(path).second) // tier.machine C3
      return emitError() << "expected at most one link of machine '" << name
                         << "' from one level to another, but got two from "
                         << path;
  }
  llvm::StringSet<> types;
  for (ComputeAttr one : compute)
    if (!types.insert(one.getType()).second) // tier.machine C4
      return emitError() << "expected at most one compute of machine '" << name
                         << "' for a type, but got two for '" << one.getType()
                         << "'";
  return success();
}

/// `[<...>, <...>]`: attributes without their mnemonic.
template <typename T>
static ParseResult parseList(AsmParser &parser, SmallVectorImpl<T> &list) {
  return parser.parseCommaSeparatedList(
      AsmParser::Delimiter::Square, [&]() -> ParseResult {
        FailureOr<T> one = FieldParser<T>::parse(parser);
        if (failed(one))
          return failure();
        list.push_back(*one);
        return success();
      });
}

Attribute MachineAttr::parse(AsmParser &parser, Type) {
  SMLoc start = parser.getCurrentLocation();
  std::string name;
  SmallVector<LevelAttr> levels;
  SmallVector<LinkAttr> links;
  SmallVector<ComputeAttr> compute;
  uint64_t launch = 0;
  if (parser.parseLess() || parser.parseString(&name))
    return {};
  llvm::StringSet<> seen;
  while (succeeded(parser.parseOptionalComma())) {
    SMLoc at = parser.getCurrentLocation();
    StringRef clause;
    if (parser.parseKeyword(&clause) || parser.parseEqual())
      return {};
    if (!seen.insert(clause).second) {
      parser.emitError(at) << "expected '" << clause << "' once";
      return {};
    }
    ParseResult parsed = success();
    if (clause == "levels")
      parsed = parseList(parser, levels);
    else if (clause == "links")
      parsed = parseList(parser, links);
    else if (clause == "compute")
      parsed = parseList(parser, compute);
    else if (clause == "launch")
      parsed = parser.parseInteger(launch);
    else
      parsed = parser.emitError(at)
               << "expected levels, links, compute or launch, but got '"
               << clause << "'";
    if (failed(parsed))
      return {};
  }
  if (parser.parseGreater())
    return {};
  return getChecked([&] { return parser.emitError(start); },
                    parser.getContext(), name, levels, links, compute, launch);
}

void MachineAttr::print(AsmPrinter &printer) const {
  printer << '<';
  printer.printString(getName());
  auto list = [&](StringRef clause, auto attributes) {
    if (attributes.empty())
      return;
    printer << ", " << clause << " = [";
    llvm::interleaveComma(attributes, printer,
                          [&](auto one) { one.print(printer); });
    printer << ']';
  };
  list("levels", getLevels());
  list("links", getLinks());
  list("compute", getCompute());
  if (getLaunch())
    printer << ", launch = " << getLaunch();
  printer << '>';
}

LevelAttr MachineAttr::lookupLevel(StringRef name) const {
  for (LevelAttr level : getLevels())
    if (level.getName() == name)
      return level;
  return {};
}

LinkAttr MachineAttr::lookupLink(StringRef source, StringRef target) const {
  for (LinkAttr link : getLinks())
    if (link.getSource() == source && link.getTarget() == target)
      return link;
  return {};
}
