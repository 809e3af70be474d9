// Who wrote an object, and that they may (FORMAT.md, 8.5): a host signs, a role
// key certifies the host, the owner's root key certifies the role.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "crypto/secret.h"
#include "crypto/signature.h"
#include "repo/cbor.h"
#include "repo/ids.h"
#include "repo/keyring.h"

namespace cairn::repo {

// The public side: what is stored beside each signature.
struct SignerChain {
  crypto::VerifyKey host_key{};
  crypto::Signature host_certificate{};
  Role role = Role::owner;
  crypto::VerifyKey role_key{};
  std::optional<crypto::Signature> role_certificate;  // absent for the root

  bool operator==(const SignerChain&) const = default;
};

void write(CborWriter& out, const SignerChain& chain);
[[nodiscard]] SignerChain read_signer_chain(CborReader& in);

// What names a key to people: 16 digits of its SHA-256.
[[nodiscard]] std::string fingerprint(const crypto::VerifyKey& key);

// What is signed: `label`, which says what kind of statement this is, then the
// repository, then the parts.
struct Statement {
  std::string_view label;
  RepositoryId repository;
  std::vector<std::span<const std::byte>> parts;

  [[nodiscard]] std::vector<std::byte> bytes() const;
};

// Signs with this host's key.
//
// Threads        const members from many threads.
class Signer {
 public:
  // Certifies the host's key with the role key of `keyring`.
  Signer(const crypto::Secret& host_seed, const Keyring& keyring);

  [[nodiscard]] const SignerChain& chain() const noexcept { return chain_; }
  [[nodiscard]] crypto::Signature sign(const Statement& statement) const;

 private:
  crypto::Secret host_seed_;
  SignerChain chain_;
};

// What a statement needs its signer to be.
enum class Authority {
  writer,   // owner or write
  keeper,   // owner or maintain
  indexer,  // any of the three
};

// Nothing is wrong, or why this signature does not count.
[[nodiscard]] std::optional<std::string_view> find_fault(
    const SignerChain& chain, const crypto::VerifyKey& root_key,
    const Statement& statement, const crypto::Signature& signature,
    Authority authority);

}  // namespace cairn::repo
