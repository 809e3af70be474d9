#include "repo/generation.h"

#include <algorithm>
#include <utility>

#include "repo/record.h"

namespace cairn::repo {
namespace {

constexpr std::size_t kMaxGenerations = 1000;
// More than one takes as CBOR.
constexpr std::size_t kGenerationBytes = 512;

// The fields of a map are in the order content, names, links.
constexpr std::array<std::size_t, Generation::kClasses> kOrder = {
    static_cast<std::size_t>(KeyClass::content),
    static_cast<std::size_t>(KeyClass::names),
    static_cast<std::size_t>(KeyClass::links)};

Generation restrict_to(const Generation& whole, Role role) {
  Generation part{whole.number, whole.index_key.clone(), whole.public_keys, {}};
  for (std::size_t i = 0; i < Generation::kClasses; ++i) {
    if (reads(role, static_cast<KeyClass>(i)) && whole.secret_keys[i]) {
      part.secret_keys[i] = whole.secret_keys[i]->clone();
    }
  }
  return part;
}

void write(CborWriter& out, const Generation& generation) {
  const auto secrets = static_cast<std::size_t>(std::ranges::count_if(
      generation.secret_keys, [](const auto& s) { return s.has_value(); }));
  out.map(2 + Generation::kClasses + secrets);
  out.key(1).uint(generation.number);
  out.key(2).bytes(generation.index_key.bytes());
  for (std::size_t i = 0; i < kOrder.size(); ++i) {
    out.key(3 + i).bytes(generation.public_keys[kOrder[i]]);
  }
  for (std::size_t i = 0; i < kOrder.size(); ++i) {
    const auto& key = generation.secret_keys[kOrder[i]];
    if (key) out.key(6 + i).bytes(key->bytes());
  }
}

Generation read_generation(CborReader& in) {
  RequiredFields seen;
  std::uint64_t number = 0;
  std::optional<crypto::Secret> index_key;
  std::array<crypto::PublicKey, Generation::kClasses> public_keys{};
  std::array<std::optional<crypto::Secret>, Generation::kClasses> secrets;
  auto map = in.map();
  while (const auto key = map.next()) {
    seen.note(*key);
    switch (*key) {
      case 1:
        number = in.uint(~std::uint32_t{0});
        break;
      case 2:
        index_key = read_secret(in);
        break;
      case 3:
      case 4:
      case 5:
        public_keys[kOrder[*key - 3]] = in.fixed<crypto::kPublicKeyBytes>();
        break;
      case 6:
      case 7:
      case 8:
        secrets[kOrder[*key - 6]] = read_secret(in);
        break;
      default:
        in.unknown_key(*key, 3);
    }
  }
  seen.require({1, 2, 3, 4, 5}, in);
  return {static_cast<std::uint32_t>(number), std::move(*index_key),
          public_keys, std::move(secrets)};
}

}  // namespace

Generation new_generation(std::uint32_t number) {
  Generation generation{number, crypto::Secret::random(), {}, {}};
  for (std::size_t i = 0; i < Generation::kClasses; ++i) {
    generation.secret_keys[i] = crypto::Secret::random();
    generation.public_keys[i] =
        crypto::public_key_of(*generation.secret_keys[i]);
  }
  return generation;
}

Generations restrict_to(const Generations& whole, Role role) {
  Generations part;
  for (const auto& generation : whole) {
    part.push_back(restrict_to(generation, role));
  }
  return part;
}

std::size_t max_encoded_bytes(const Generations& generations) {
  return kGenerationBytes * (1 + generations.size());
}

void write(CborWriter& out, const Generations& generations) {
  out.array(generations.size());
  for (const auto& generation : generations) write(out, generation);
}

Generations read_generations(CborReader& in) {
  Generations generations;
  for (auto n = in.array(kMaxGenerations); n > 0; --n) {
    generations.push_back(read_generation(in));
    const auto count = generations.size();
    if (count > 1 &&
        generations[count - 2].number >= generations[count - 1].number) {
      in.fail("generations that do not ascend");
    }
  }
  if (generations.empty()) in.fail("no generation");
  return generations;
}

crypto::Secret read_secret(CborReader& in) {
  const auto bytes = in.bytes(crypto::kSecretBytes);
  if (bytes.size() != crypto::kSecretBytes) in.fail("a key of another length");
  return crypto::Secret::from_bytes(bytes);
}

}  // namespace cairn::repo
