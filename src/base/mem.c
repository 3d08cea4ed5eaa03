#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void
die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("draft-thinker: fatal: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	abort();
}

void *
mem_new(size_t size)
{
	return mem_array(1, size);
}

void *
mem_array(size_t count, size_t size)
{
	void *p = calloc(count ? count : 1, size ? size : 1);

	if (!p)
		die("out of memory (%zu × %zu bytes)", count, size);
	return p;
}

void *
mem_resize(void *old, size_t count, size_t size)
{
	void *p = reallocarray(old, count ? count : 1, size ? size : 1);

	if (!p)
		die("out of memory (%zu × %zu bytes)", count, size);
	return p;
}

char *
mem_copy(struct bytes text)
{
	char *p = mem_new(text.n + 1);

	if (text.n)
		memcpy(p, text.p, text.n);
	return p;
}

char *
mem_format(const char *format, ...)
{
	va_list args;
	char *text = NULL;

	va_start(args, format);
	if (vasprintf(&text, format, args) < 0 || !text)
		die("out of memory");
	va_end(args);
	return text;
}

void *
mem_try(size_t size)
{
	return malloc(size ? size : 1);
}
