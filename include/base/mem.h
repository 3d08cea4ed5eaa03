/*
 * Two kinds of allocation. Sizes that the program itself bounds: mem_new, mem_array,
 * mem_copy abort when memory is out, so callers need no error path. Sizes that a peer
 * chooses: mem_try, or a `struct buf`, whose failure the caller must answer.
 */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stddef.h>

#include "base/bytes.h"

/* Zeroed memory; never NULL. Freed with free(). */
void *mem_new(size_t size) __attribute__((malloc, returns_nonnull, warn_unused_result));
void *mem_array(size_t count, size_t size)
        __attribute__((malloc, returns_nonnull, warn_unused_result));
void *mem_resize(void *old, size_t count, size_t size)
        __attribute__((returns_nonnull, warn_unused_result));

/* A terminated copy; never NULL. Freed with free(). */
char *mem_copy(struct bytes text) __attribute__((malloc, returns_nonnull, warn_unused_result));
char *mem_format(const char *format, ...)
        __attribute__((format(printf, 1, 2), malloc, returns_nonnull, warn_unused_result));

/* Memory of a size chosen by a peer, not zeroed; NULL when it is not to be had. */
void *mem_try(size_t size) __attribute__((malloc, warn_unused_result));

/* Ends the process with a message on stderr: an impossible state, or no memory. */
void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn, cold));

#endif
