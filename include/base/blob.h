/* Memory that several owners share; freed when the last one lets go. One thread at a time, owners included. */
#ifndef BASE_BLOB_H
#define BASE_BLOB_H

#include <stddef.h>

#include "base/bytes.h"

struct blob {
	unsigned owners;
	size_t n;
	char p[];
};

/* With one owner, not zeroed; NULL when there is no memory. */
struct blob *blob_try(size_t n);
struct blob *blob_ref(struct blob *blob); /* NULL is allowed, in both */
void blob_unref(struct blob *blob);

#endif
