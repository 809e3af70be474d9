#include "repo/signer.h"

#include <gtest/gtest.h>

#include "repo/cbor.h"
#include "repo/error.h"
#include "tests/support/bytes.h"

namespace cairn::repo {
namespace {

using testing_support::Bytes;
using testing_support::bytes_of;

class SignerTest : public ::testing::Test {
 protected:
  std::optional<std::string_view> fault_of(
      const SignerChain& chain, Authority authority = Authority::writer) const {
    return find_fault(chain, owner.root_key(), statement, signature, authority);
  }

  Bytes message = bytes_of("message");
  Keyring owner = Keyring::create();
  Statement statement{"label", owner.repository(), {message}};
  Signer signer{crypto::Secret::random(), owner};
  crypto::Signature signature = signer.sign(statement);
};

TEST_F(SignerTest, TheOwnersHostCounts) {
  EXPECT_EQ(fault_of(signer.chain()), std::nullopt);
  EXPECT_FALSE(signer.chain().role_certificate);
}

TEST_F(SignerTest, AChainComesBackAsItWas) {
  for (const Role role : {Role::owner, Role::write}) {
    const Signer each(crypto::Secret::random(), owner.for_role(role));
    CborWriter out;
    write(out, each.chain());
    CborReader in(out.view(), "signer");
    EXPECT_EQ(read_signer_chain(in), each.chain());
    EXPECT_NO_THROW(in.end());
  }
}

TEST_F(SignerTest, EveryChangedByteOfTheChainIsNoticed) {
  const Keyring writer = owner.for_role(Role::write);
  const Signer each(crypto::Secret::random(), writer);
  signature = each.sign(statement);
  CborWriter out;
  write(out, each.chain());
  ASSERT_EQ(fault_of(each.chain()), std::nullopt);
  for (std::size_t at = 0; at < out.size(); ++at) {
    Bytes changed = out.view();
    changed[at] ^= std::byte{1};
    CborReader in(changed, "signer");
    try {
      const SignerChain chain = read_signer_chain(in);
      EXPECT_NE(fault_of(chain), std::nullopt) << at;
    } catch (const CorruptionError&) {
    } catch (const UnsupportedFormat&) {
    }
  }
}

TEST_F(SignerTest, AnotherLabelOrRepositoryOrMessageIsAnotherStatement) {
  const Bytes other_message = bytes_of("Message");
  const Statement others[] = {
      {"lable", owner.repository(), {message}},
      {"label", RepositoryId{}, {message}},
      {"label", owner.repository(), {other_message}},
  };
  for (const Statement& other : others) {
    EXPECT_NE(find_fault(signer.chain(), owner.root_key(), other, signature,
                         Authority::writer),
              std::nullopt);
  }
}

TEST_F(SignerTest, AnotherOwnerIsNotThisRepositorys) {
  const Keyring other = Keyring::create();
  const Signer stranger(crypto::Secret::random(), other);
  signature = stranger.sign(statement);
  EXPECT_NE(fault_of(stranger.chain()), std::nullopt);
}

TEST_F(SignerTest, AnOwnerWithARoleCertificateIsRefused) {
  SignerChain chain = signer.chain();
  chain.role_certificate.emplace();
  EXPECT_NE(fault_of(chain), std::nullopt);
}

TEST_F(SignerTest, AnotherRoleWithoutARoleCertificateIsRefused) {
  const Signer each(crypto::Secret::random(), owner.for_role(Role::write));
  signature = each.sign(statement);
  SignerChain chain = each.chain();
  chain.role_certificate.reset();
  EXPECT_NE(fault_of(chain), std::nullopt);
}

struct Right {
  Role role;
  bool writer;
  bool keeper;
  bool indexer;
};

TEST_F(SignerTest, EachRoleMaySignWhatTheFormatSays) {
  const Right table[] = {
      {Role::owner, true, true, true},   {Role::restore, false, false, false},
      {Role::list, false, false, false}, {Role::maintain, false, true, true},
      {Role::write, true, false, true},
  };
  for (const Right& line : table) {
    SCOPED_TRACE(name_of(line.role));
    const Signer each(crypto::Secret::random(), owner.for_role(line.role));
    signature = each.sign(statement);
    const auto may = [&](Authority authority) {
      return fault_of(each.chain(), authority) == std::nullopt;
    };
    EXPECT_EQ(may(Authority::writer), line.writer);
    EXPECT_EQ(may(Authority::keeper), line.keeper);
    EXPECT_EQ(may(Authority::indexer), line.indexer);
  }
}

TEST(SignerChain, AnUnknownRoleIsUnsupported) {
  CborWriter out;
  out.array(5).bytes(Bytes(32)).bytes(Bytes(64)).uint(5).bytes(Bytes(32));
  out.null();
  CborReader in(out.view(), "signer");
  EXPECT_THROW((void)read_signer_chain(in), UnsupportedFormat);
}

}  // namespace
}  // namespace cairn::repo
