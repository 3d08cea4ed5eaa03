/*
 * Loaded ahead of the C library by the failure matrix, so that look-ups of names fail as a test wants, with no
 * name server: *.gone.test does not exist, *.hang.test is looked up for NAMES_HANG_MS and then does not
 * exist either. All other names pass on. Called from libcurl's resolver threads; keeps no state.
 */
#include <dlfcn.h>
#include <errno.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { NAMES_HANG_DEFAULT_MS = 3000 };

typedef int lookup_function(const char *, const char *, const struct addrinfo *,
                            struct addrinfo **);

static bool
name_ends(const char *name, const char *end)
{
	size_t n = strlen(name), m = strlen(end);

	return n > m && strcmp(name + n - m, end) == 0;
}

static void
hang(void)
{
	const char *text = getenv("NAMES_HANG_MS");
	long ms = text ? strtol(text, NULL, 10) : NAMES_HANG_DEFAULT_MS;
	struct timespec left = {ms / 1000, ms % 1000 * 1000000};

	while (nanosleep(&left, &left) != 0 && errno == EINTR)
		;
}

int
getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
            struct addrinfo **found)
{
	lookup_function *next;

	if (node && name_ends(node, ".gone.test"))
		return EAI_NONAME;
	if (node && name_ends(node, ".hang.test")) {
		hang();
		return EAI_AGAIN;
	}
	/* POSIX promises that a function's address fits a void pointer, ISO C does not. */
	*(void **)&next = dlsym(RTLD_NEXT, "getaddrinfo");
	return next ? next(node, service, hints, found) : EAI_SYSTEM;
}
