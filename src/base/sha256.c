/*
 * By the low-level functions, which OpenSSL 3 calls deprecated. They keep their state on the stack and cannot
 * fail, where each digest by EVP looks its algorithm up anew, with locks and an allocation: for 100 bytes that costs
 * three times the digest itself. An algorithm looked up beforehand would have to be kept in a global.
 */
#include "base/sha256.h"

#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/sha.h>

_Static_assert(sizeof(((struct sha256 *)NULL)->bytes) == SHA256_DIGEST_LENGTH, "SHA-256");

struct sha256
sha256_of(struct bytes text)
{
	struct sha256 digest;
	SHA256_CTX context;

	SHA256_Init(&context);
	if (text.n > 0)
		SHA256_Update(&context, text.p, text.n);
	SHA256_Final(digest.bytes, &context);
	return digest;
}
