#include "repo/signer.h"

#include <array>

#include "repo/error.h"

namespace cairn::repo {
namespace {

constexpr std::string_view kHostLabel = "cairn host key";
constexpr std::string_view kRoleLabel = "cairn role key";

bool may(Role role, Authority authority) {
  switch (authority) {
    case Authority::writer:
      return role == Role::owner || role == Role::write;
    case Authority::keeper:
      return role == Role::owner || role == Role::maintain;
    case Authority::indexer:
      return role == Role::owner || role == Role::write ||
             role == Role::maintain;
  }
  return false;
}

}  // namespace

void write(CborWriter& out, const SignerChain& chain) {
  out.array(5).bytes(chain.host_key).bytes(chain.host_certificate);
  out.uint(static_cast<std::uint64_t>(chain.role)).bytes(chain.role_key);
  if (chain.role_certificate) {
    out.bytes(*chain.role_certificate);
  } else {
    out.null();
  }
}

SignerChain read_signer_chain(CborReader& in) {
  SignerChain chain;
  in.array_of(5);
  chain.host_key = in.fixed<crypto::kVerifyKeyBytes>();
  chain.host_certificate = in.fixed<crypto::kSignatureBytes>();
  const auto role = in.uint();
  if (role > static_cast<std::uint64_t>(Role::write)) {
    throw UnsupportedFormat("signed by a role that this cairn does not know");
  }
  chain.role = static_cast<Role>(role);
  chain.role_key = in.fixed<crypto::kVerifyKeyBytes>();
  if (!in.skip_null()) {
    chain.role_certificate = in.fixed<crypto::kSignatureBytes>();
  }
  return chain;
}

std::string fingerprint(const crypto::VerifyKey& key) {
  constexpr std::size_t kBytes = 8;
  const auto digest = crypto::sha256(key);
  return crypto::to_hex(std::span(digest).first<kBytes>());
}

std::vector<std::byte> Statement::bytes() const {
  const auto text = std::as_bytes(std::span(label));
  std::vector<std::byte> out(text.begin(), text.end());
  out.insert(out.end(), repository.bytes.begin(), repository.bytes.end());
  for (const auto part : parts) out.insert(out.end(), part.begin(), part.end());
  return out;
}

Signer::Signer(const crypto::Secret& host_seed, const Keyring& keyring)
    : host_seed_(host_seed.clone()) {
  chain_.host_key = crypto::verify_key_of(host_seed_);
  chain_.role = keyring.role();
  chain_.role_key = keyring.role_key();
  chain_.role_certificate = keyring.role_certificate();
  const Statement certifies{
      kHostLabel, keyring.repository(), {chain_.host_key}};
  chain_.host_certificate =
      crypto::sign(keyring.signing_seed(), certifies.bytes());
}

crypto::Signature Signer::sign(const Statement& statement) const {
  return crypto::sign(host_seed_, statement.bytes());
}

namespace {

// What a chain's certificates are worth, whatever it signs.
std::optional<std::string_view> find_fault_in_certificates(
    const SignerChain& chain, const crypto::VerifyKey& root_key,
    const RepositoryId& repository) {
  const Statement host{kHostLabel, repository, {chain.host_key}};
  if (!crypto::verify(chain.role_key, host.bytes(), chain.host_certificate)) {
    return "signed by a host that is not certified";
  }
  if (chain.role == Role::owner && chain.role_key == root_key) {
    if (chain.role_certificate) return "the root key with a certificate";
    return std::nullopt;
  }
  const std::array<std::byte, 1> role = {static_cast<std::byte>(chain.role)};
  const Statement certified{kRoleLabel, repository, {role, chain.role_key}};
  if (!chain.role_certificate ||
      !crypto::verify(root_key, certified.bytes(), *chain.role_certificate)) {
    return "signed with a role key that is not certified";
  }
  return std::nullopt;
}

struct CertifiedChain {
  SignerChain chain;
  crypto::VerifyKey root_key;
  RepositoryId repository;

  bool operator==(const CertifiedChain&) const = default;
};

}  // namespace

std::optional<std::string_view> find_fault(const SignerChain& chain,
                                           const crypto::VerifyKey& root_key,
                                           const Statement& statement,
                                           const crypto::Signature& signature,
                                           Authority authority) {
  if (!may(chain.role, authority)) return "signed by a role that may not";
  if (!crypto::verify(chain.host_key, statement.bytes(), signature)) {
    return "its signature does not verify";
  }
  // One host mostly signs many in a row, with the same certificates.
  thread_local std::optional<CertifiedChain> last_sound;
  const CertifiedChain asked{chain, root_key, statement.repository};
  if (last_sound == asked) return std::nullopt;
  const auto fault =
      find_fault_in_certificates(chain, root_key, statement.repository);
  if (!fault) last_sound = asked;
  return fault;
}

}  // namespace cairn::repo
