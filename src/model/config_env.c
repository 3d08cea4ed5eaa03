/* What a configuration takes from outside itself: variables of the environment, and files that
 * hold a secret. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "model/config_node.h"
#include "model/config_text.h"

enum { VARIABLE_NAME_MAX = 128 };

/* A text of bounded size that never moves, so that no copy of a secret is left behind. */
struct bounded_text {
	char *p; /* owned, CONFIG_SCALAR_MAX + 1 bytes */
	size_t n;
	bool overflow;
};

static void
bounded_add(struct bounded_text *out, const char *p, size_t n)
{
	if (n > (size_t)CONFIG_SCALAR_MAX - out->n) {
		out->overflow = true;
		return;
	}
	memcpy(out->p + out->n, p, n);
	out->n += n;
}

void
config_text_wipe(char *text)
{
	if (text)
		explicit_bzero(text, strlen(text));
	free(text);
}

static size_t
variable_name_length(const char *p)
{
	size_t n = 0;

	while ((p[n] >= 'A' && p[n] <= 'Z') || (p[n] >= 'a' && p[n] <= 'z') || p[n] == '_' ||
	       (n > 0 && p[n] >= '0' && p[n] <= '9'))
		n++;
	return n;
}

/* Replaces the variable at p ("${…"); returns what follows it, or NULL with a problem. */
static const char *
variable_expand(const char *p, struct bounded_text *out, char *problem)
{
	const char *name = p + 2, *end = strchr(name, '}'), *after, *value;
	size_t length = variable_name_length(name);
	char copy[VARIABLE_NAME_MAX];

	if (!end) {
		snprintf(problem, CONFIG_PROBLEM_MAX, "`${` without a closing `}`");
		return NULL;
	}
	after = name + length;
	if (length == 0 || length >= sizeof(copy) ||
	    (after != end && strncmp(after, ":-", 2) != 0)) {
		snprintf(problem, CONFIG_PROBLEM_MAX, "`${…}` must be ${NAME} or ${NAME:-default}");
		return NULL;
	}
	if (after != end && memmem(after, (size_t)(end - after), "${", 2)) {
		snprintf(problem, CONFIG_PROBLEM_MAX,
		         "a default inside `${…}` cannot hold another `${`");
		return NULL;
	}
	memcpy(copy, name, length);
	copy[length] = '\0';
	value = getenv(copy);
	if (after != end && (!value || !*value)) {
		bounded_add(out, after + 2, (size_t)(end - after - 2));
	} else if (value) {
		bounded_add(out, value, strlen(value));
	} else {
		snprintf(problem, CONFIG_PROBLEM_MAX,
		         "the environment variable %s is not set, and no default is given", copy);
		return NULL;
	}
	return end + 1;
}

char *
config_text_expand(const char *text, bool *replaced, char *problem)
{
	struct bounded_text out = {0};
	char *result = NULL;

	*replaced = false;
	if (!strstr(text, "${"))
		return mem_copy(bytes_of(text));
	out.p = mem_new((size_t)CONFIG_SCALAR_MAX + 1);
	while (*text) {
		if (strncmp(text, "$${", 3) == 0) {
			bounded_add(&out, "${", 2);
			text += 3;
		} else if (strncmp(text, "${", 2) == 0) {
			*replaced = true;
			text = variable_expand(text, &out, problem);
			if (!text)
				goto done;
		} else {
			bounded_add(&out, text++, 1);
		}
	}
	if (out.overflow)
		snprintf(problem, CONFIG_PROBLEM_MAX, "longer than %d bytes", CONFIG_SCALAR_MAX);
	else
		result = mem_copy((struct bytes){out.p, out.n});
done:
	explicit_bzero(out.p, out.n);
	free(out.p);
	return result;
}

/* Reads at most CONFIG_SCALAR_MAX + 1 bytes. */
static bool
file_read(int fd, struct bounded_text *out)
{
	while (out->n <= CONFIG_SCALAR_MAX) {
		ssize_t n = read(fd, out->p + out->n, (size_t)CONFIG_SCALAR_MAX + 1 - out->n);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n == 0;
		out->n += (size_t)n;
	}
	return true;
}

char *
config_text_file(const char *path, char *problem)
{
	/* Not blocking: a named pipe without a writer must not hold the start up. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct bounded_text out = {0};
	struct stat status;
	char *result = NULL;

	if (fd < 0 || fstat(fd, &status) != 0) {
		snprintf(problem, CONFIG_PROBLEM_MAX, "the file cannot be read: %s",
		         strerror(errno));
		goto done;
	}
	if (!S_ISREG(status.st_mode)) {
		snprintf(problem, CONFIG_PROBLEM_MAX, "the file is not a regular file");
		goto done;
	}
	out.p = mem_new((size_t)CONFIG_SCALAR_MAX + 1);
	if (!file_read(fd, &out))
		snprintf(problem, CONFIG_PROBLEM_MAX, "the file cannot be read: %s",
		         strerror(errno));
	else if (out.n > CONFIG_SCALAR_MAX)
		snprintf(problem, CONFIG_PROBLEM_MAX, "the file is longer than %d bytes",
		         CONFIG_SCALAR_MAX);
	else if (memchr(out.p, '\0', out.n))
		snprintf(problem, CONFIG_PROBLEM_MAX, "the file holds a NUL character");
	else {
		while (out.n > 0 && (out.p[out.n - 1] == '\n' || out.p[out.n - 1] == '\r'))
			out.n--;
		if (out.n > 0)
			result = mem_copy((struct bytes){out.p, out.n});
		else
			snprintf(problem, CONFIG_PROBLEM_MAX, "the file is empty");
	}
	explicit_bzero(out.p, (size_t)CONFIG_SCALAR_MAX + 1);
	free(out.p);
done:
	if (fd >= 0)
		close(fd);
	return result;
}
