/* The faults found in a configuration, and the memory of the snapshot being built. */
#include "model/config_reader.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { FAULTS_MAX = 200, FAULT_TEXT_MAX = 512 };

struct config_fault {
	unsigned line;
	bool warning;
	char *text; /* owned; the whole line of the report */
};

/* A piece of the snapshot's memory; what is given out follows it. */
struct config_memory {
	struct config_memory *next;
	size_t size;
	max_align_t data[];
};

struct config_place
config_at(const struct config_node *node)
{
	return (struct config_place){.node = node};
}

struct config_place
config_at_key(const struct config_node *node, const char *key)
{
	const struct config_node *child = config_node_find(node, key);

	return child ? config_at(child)
	             : (struct config_place){.node = node, .key = key, .line = 1};
}

struct config_place
config_at_name(const struct config_node *node)
{
	return (struct config_place){.node = node, .cut = true};
}

struct config_place
config_at_line(unsigned line)
{
	return (struct config_place){.line = line};
}

static void __attribute__((format(printf, 4, 0)))
fault_add(struct config_reader *reader, struct config_place place, bool warning, const char *format,
          va_list args)
{
	unsigned line = reader->built_in ? 0 : place.node ? place.node->line : place.line;
	char message[FAULT_TEXT_MAX];
	struct buf out, path;

	*(warning ? &reader->warning_count : &reader->error_count) += 1;
	if (reader->fault_count >= FAULTS_MAX)
		return;
	vsnprintf(message, sizeof(message), format, args);
	buf_init(&out, 0);
	buf_init(&path, 0);
	config_node_path(place.node, place.cut, &path);
	if (place.key) {
		buf_add_text(&path, path.n ? "." : "");
		buf_add_text(&path, place.key);
	}
	buf_add_text(&out, reader->name);
	if (line)
		buf_add_format(&out, ":%u", line);
	buf_add_text(&out, ": ");
	if (path.n) {
		buf_add_bytes(&out, buf_bytes(&path));
		buf_add_text(&out, ": ");
	}
	buf_add_text(&out, message);
	buf_add_text(&out, "\n");
	reader->faults =
	        mem_resize(reader->faults, reader->fault_count + 1, sizeof(*reader->faults));
	reader->faults[reader->fault_count++] =
	        (struct config_fault){line, warning, mem_copy(buf_bytes(&out))};
	buf_fini(&out);
	buf_fini(&path);
}

void
config_error(struct config_reader *reader, struct config_place place, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fault_add(reader, place, false, format, args);
	va_end(args);
}

void
config_warning(struct config_reader *reader, struct config_place place, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fault_add(reader, place, true, format, args);
	va_end(args);
}

void
config_error_unknown_name(struct config_reader *reader, const struct config_node *node,
                          const char *what, const char *like)
{
	struct buf name;

	buf_init(&name, 0);
	config_node_show(node, &name);
	if (like)
		config_error(reader, config_at(node), "no %s named %.*s; did you mean `%s`?", what,
		             (int)name.n, buf_bytes(&name).p, like);
	else
		config_error(reader, config_at(node), "no %s named %.*s", what, (int)name.n,
		             buf_bytes(&name).p);
	buf_fini(&name);
}

/* Stable, so that faults of one line stay in the order they were found in. */
static void
faults_sort(struct config_fault *faults, size_t count)
{
	for (size_t i = 1; i < count; i++) {
		struct config_fault fault = faults[i];
		size_t k = i;

		for (; k > 0 && faults[k - 1].line > fault.line; k--)
			faults[k] = faults[k - 1];
		faults[k] = fault;
	}
}

void
config_reader_report(struct config_reader *reader, struct config_report *report)
{
	unsigned found = reader->error_count + reader->warning_count;

	faults_sort(reader->faults, reader->fault_count);
	for (size_t i = 0; i < reader->fault_count; i++) {
		const struct config_fault *fault = &reader->faults[i];

		buf_add_text(fault->warning ? &report->warnings : &report->errors, fault->text);
		free(fault->text);
	}
	if (found > FAULTS_MAX)
		buf_add_format(reader->error_count ? &report->errors : &report->warnings,
		               "%s: %u more remarks are not shown\n", reader->name,
		               found - FAULTS_MAX);
	report->error_count += reader->error_count;
	report->warning_count += reader->warning_count;
	free(reader->faults);
	reader->faults = NULL;
	reader->fault_count = 0;
}

void
config_report_init(struct config_report *report)
{
	*report = (struct config_report){0};
	buf_init(&report->errors, 0);
	buf_init(&report->warnings, 0);
}

void
config_report_fini(struct config_report *report)
{
	buf_fini(&report->errors);
	buf_fini(&report->warnings);
}

void *
config_alloc(struct config *config, size_t count, size_t size)
{
	size_t bytes;
	struct config_memory *memory;

	if (__builtin_mul_overflow(count, size, &bytes) || bytes > SIZE_MAX / 2)
		die("a configuration of %zu × %zu bytes", count, size);
	memory = mem_new(sizeof(*memory) + bytes);
	memory->size = bytes;
	memory->next = config->memory;
	config->memory = memory;
	return memory->data;
}

char *
config_copy(struct config *config, const char *text)
{
	size_t size = strlen(text) + 1;

	return memcpy(config_alloc(config, 1, size), text, size);
}

void
config_memory_free(struct config_memory *memory)
{
	while (memory) {
		struct config_memory *next = memory->next;

		explicit_bzero(memory->data, memory->size);
		free(memory);
		memory = next;
	}
}
