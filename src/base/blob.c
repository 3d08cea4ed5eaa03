#include "base/blob.h"

#include <stdlib.h>

#include "base/mem.h"

struct blob *
blob_try(size_t n)
{
	struct blob *blob = n < SIZE_MAX - sizeof(*blob) ? mem_try(sizeof(*blob) + n) : NULL;

	if (blob) {
		blob->owners = 1;
		blob->n = n;
	}
	return blob;
}

struct blob *
blob_ref(struct blob *blob)
{
	if (blob)
		blob->owners++;
	return blob;
}

void
blob_unref(struct blob *blob)
{
	if (blob && --blob->owners == 0)
		free(blob);
}
