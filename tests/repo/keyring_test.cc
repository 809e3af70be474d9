#include "repo/keyring.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "repo/session_keys.h"
#include "repo/signer.h"
#include "tests/support/bytes.h"

namespace cairn::repo {
namespace {

using testing_support::Bytes;
using testing_support::bytes_of;

TEST(Keyring, ASisterSharesIdsAndNothingElse) {
  const Keyring keyring = Keyring::create();
  const Keyring sister = Keyring::create_like(keyring);
  const Bytes plain = bytes_of("some bytes");
  EXPECT_EQ(sister.family(), keyring.family());
  EXPECT_EQ(sister.id_of(BlobKind::content, plain),
            keyring.id_of(BlobKind::content, plain));
  EXPECT_TRUE(std::ranges::equal(sister.cutter_key().bytes(),
                                 keyring.cutter_key().bytes()));
  EXPECT_NE(sister.repository(), keyring.repository());
  EXPECT_NE(sister.root_key(), keyring.root_key());
  EXPECT_FALSE(std::ranges::equal(sister.newest().index_key.bytes(),
                                  keyring.newest().index_key.bytes()));
}

TEST(Keyring, TheSameBytesHaveAnotherIdAsAnotherKind) {
  const Keyring keyring = Keyring::create();
  const Bytes plain = bytes_of("some bytes");
  EXPECT_NE(keyring.id_of(BlobKind::content, plain),
            keyring.id_of(BlobKind::links, plain));
}

struct RoleReads {
  Role role;
  bool content;
  bool links;
  bool names;
};

TEST(Keyring, EachRoleReadsItsClassesAndNoOther) {
  const RoleReads table[] = {
      {Role::owner, true, true, true},   {Role::restore, true, true, true},
      {Role::list, false, true, true},   {Role::maintain, false, true, false},
      {Role::write, false, true, false},
  };
  const Keyring owner = Keyring::create();
  for (const RoleReads& line : table) {
    SCOPED_TRACE(name_of(line.role));
    const Keyring part = owner.for_role(line.role);

    const Keyring opened =
        Keyring::from_bundle(part.bundle(crypto::Secret::random()), "a bundle");

    EXPECT_EQ(opened.role(), line.role);
    EXPECT_EQ(opened.can_read(KeyClass::content), line.content);
    EXPECT_EQ(opened.can_read(KeyClass::links), line.links);
    EXPECT_EQ(opened.can_read(KeyClass::names), line.names);
    EXPECT_EQ(opened.role_certificate().has_value(), line.role != Role::owner);
  }
}

TEST(Keyring, AWriterCannotOpenTheContentItSealed) {
  const Keyring owner = Keyring::create();
  const Keyring writer = owner.for_role(Role::write);
  SessionKeys keys(writer);

  SessionKeyCache writer_cache(writer);
  SessionKeyCache owner_cache(owner);

  EXPECT_EQ(writer_cache.find(keys.wrapped(KeyClass::content)), nullptr);
  EXPECT_EQ(writer_cache.find(keys.wrapped(KeyClass::names)), nullptr);
  EXPECT_NE(writer_cache.find(keys.wrapped(KeyClass::links)), nullptr);
  const auto* const content = owner_cache.find(keys.wrapped(KeyClass::content));
  ASSERT_NE(content, nullptr);
  EXPECT_TRUE(std::ranges::equal(content->bytes(),
                                 keys.key(KeyClass::content).bytes()));
}

TEST(Keyring, ARoleCertificateVerifiesForThatRoleOnly) {
  const Keyring owner = Keyring::create();
  const Keyring writer = owner.for_role(Role::write);
  const Signer signer(crypto::Secret::random(), writer);
  const Statement statement{"label", owner.repository(), {}};
  const auto signature = signer.sign(statement);
  SignerChain promoted = signer.chain();
  promoted.role = Role::maintain;

  EXPECT_EQ(find_fault(signer.chain(), owner.root_key(), statement, signature,
                       Authority::writer),
            std::nullopt);
  EXPECT_NE(find_fault(promoted, owner.root_key(), statement, signature,
                       Authority::keeper),
            std::nullopt);
}

}  // namespace
}  // namespace cairn::repo
