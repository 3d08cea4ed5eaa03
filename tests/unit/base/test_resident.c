#include "base/resident.h"

#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "unit.h"

/* A line of /proc/self/status, in kB. */
static long
status_kb(const char *name)
{
	FILE *file = fopen("/proc/self/status", "r");
	char line[256];
	long kb = -1;

	ck_assert_ptr_nonnull(file);
	while (fgets(line, sizeof(line), file)) {
		if (strncmp(line, name, strlen(name)) == 0)
			kb = strtol(line + strlen(name) + 1, NULL, 10);
	}
	fclose(file);
	ck_assert_int_ge(kb, 0);
	return kb;
}

/* Adds up bytes of the libraries' segments that are only read. The program's own are left out: a sanitizer objects. */
static int
sum_segments(struct dl_phdr_info *info, size_t size, void *arg)
{
	uint64_t *sum = arg;

	(void)size;
	if (!*info->dlpi_name || strstr(info->dlpi_name, "vdso"))
		return 0;
	for (size_t i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *header = &info->dlpi_phdr[i];
		const unsigned char *p = (const unsigned char *)info->dlpi_addr + header->p_vaddr;

		for (size_t k = 0;
		     header->p_type == PT_LOAD && !(header->p_flags & PF_W) && k < header->p_filesz;
		     k += 64)
			*sum = *sum * 31 + p[k];
	}
	return 0;
}

START_TEST(test_pages_of_files_go_and_come_back_as_they_were)
{
	uint64_t first = 0;

	for (int i = 0; i < 3; i++) {
		uint64_t sum = 0;
		long before;

		dl_iterate_phdr(sum_segments, &sum);
		if (i == 0)
			first = sum;
		ck_assert(sum == first);
		before = status_kb("RssFile");
		resident_return();
		ck_assert_int_lt(status_kb("RssFile"), before / 4 * 3);
	}
}
END_TEST

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
/* Free memory between blocks that are in use, which free() alone never gives back. */
#define BLOCKS     4096
#define FREE_BYTES 8192

START_TEST(test_free_memory_between_blocks_in_use_goes)
{
	static void *used[BLOCKS], *freed[BLOCKS];
	long before;

	for (int i = 0; i < BLOCKS; i++) {
		used[i] = malloc(64);
		freed[i] = malloc(FREE_BYTES);
		memset(freed[i], 1, FREE_BYTES);
	}
	for (int i = 0; i < BLOCKS; i++)
		free(freed[i]);
	before = status_kb("RssAnon");
	resident_return();
	ck_assert_int_lt(status_kb("RssAnon"), before - BLOCKS * (FREE_BYTES - 4096) / 1024 / 2);
	for (int i = 0; i < BLOCKS; i++)
		free(used[i]);
}
END_TEST

/* Few small pieces, which the C library keeps for this thread, must not hold a page each. */
START_TEST(test_small_pieces_kept_for_the_thread_are_put_side_by_side)
{
	enum { SIZES = 64, OF_EACH = 7, GAP_BYTES = 16384 };
	static void *small[SIZES * OF_EACH], *gaps[SIZES * OF_EACH];
	long before;

	resident_return();
	before = status_kb("RssAnon");
	for (size_t i = 0; i < SIZES * OF_EACH; i++) {
		small[i] = malloc(24 + i % SIZES * 16);
		gaps[i] = malloc(GAP_BYTES);
		memset(gaps[i], 1, GAP_BYTES);
	}
	for (size_t i = 0; i < SIZES * OF_EACH; i++) {
		free(small[i]);
		free(gaps[i]);
	}
	resident_return();
	ck_assert_int_lt(status_kb("RssAnon"), before + SIZES * OF_EACH * 4 / 3);
}
END_TEST

UNIT_MAIN("resident", test_pages_of_files_go_and_come_back_as_they_were,
          test_free_memory_between_blocks_in_use_goes,
          test_small_pieces_kept_for_the_thread_are_put_side_by_side)
#else
UNIT_MAIN("resident", test_pages_of_files_go_and_come_back_as_they_were)
#endif
