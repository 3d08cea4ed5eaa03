#include "base/resident.h"

#include <link.h>
#include <malloc.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* A library that is relocated in its code has pages there which differ from its file. */
static bool
has_changed_code(const struct dl_phdr_info *info)
{
	for (size_t i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *header = &info->dlpi_phdr[i];
		const ElfW(Dyn) * entry;

		if (header->p_type != PT_DYNAMIC)
			continue;
		entry = (const void *)(info->dlpi_addr + header->p_vaddr);
		for (; entry->d_tag != DT_NULL; entry++) {
			if (entry->d_tag == DT_TEXTREL ||
			    (entry->d_tag == DT_FLAGS && entry->d_un.d_val & DF_TEXTREL))
				return true;
		}
	}
	return false;
}

/* One library, or the program. Only its segments that cannot be written to: the others hold data. */
static int
return_file_pages(struct dl_phdr_info *info, size_t size, void *arg)
{
	const uintptr_t page = *(const uintptr_t *)arg;

	(void)size;
	if (has_changed_code(info))
		return 0;
	for (size_t i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *header = &info->dlpi_phdr[i];
		uintptr_t begin = info->dlpi_addr + header->p_vaddr;
		uintptr_t end = (begin + header->p_memsz + page - 1) & ~(page - 1);

		begin &= ~(page - 1);
		/* What fails, as it does for the kernel's own pages, just stays. */
		if (header->p_type == PT_LOAD && !(header->p_flags & PF_W))
			madvise((void *)begin, end - begin, MADV_DONTNEED);
	}
	return 0;
}

/* glibc keeps up to seven freed pieces of each small size ready for the thread that freed them. They count as used, and
 * after a burst each holds the page where it happens to lie: 300 pages and more. */
enum { READY_PIECES = 7, READY_LEAST_BYTES = 24, READY_MOST_BYTES = 1032, READY_STEP_BYTES = 16 };

/* Fresh ones, which come off one free piece side by side, take their places. */
static void
regroup_ready_pieces(void)
{
	void *ready[READY_PIECES], *fresh[READY_PIECES];

	for (size_t n = READY_LEAST_BYTES; n <= READY_MOST_BYTES; n += READY_STEP_BYTES) {
		for (size_t i = 0; i < READY_PIECES; i++)
			ready[i] = malloc(n);
		for (size_t i = 0; i < READY_PIECES; i++)
			fresh[i] = malloc(n);
		for (size_t i = 0; i < READY_PIECES; i++)
			free(fresh[i]);
		for (size_t i = 0; i < READY_PIECES; i++)
			free(ready[i]);
	}
}

void
resident_return(void)
{
	long size = sysconf(_SC_PAGESIZE);
	uintptr_t page = (uintptr_t)size;

	regroup_ready_pieces();
	malloc_trim(0);
	if (size > 0)
		dl_iterate_phdr(return_file_pages, &page);
}
