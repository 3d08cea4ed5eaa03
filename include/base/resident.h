/* How much memory the process holds, as the kernel counts it. */
#ifndef BASE_RESIDENT_H
#define BASE_RESIDENT_H

/*
 * Gives back to the kernel what the process holds without need: freed memory that the C library kept, and the pages of
 * the program and its libraries that are as they stand in their files. Of these most served only to start: 30
 * libraries are initialised, of which few are ever called. Those that are needed are mapped again as they are
 * touched, which costs about a microsecond for 64 kB while the file is in the page cache.
 *
 * Any thread; of what the C library keeps ready for one thread, only the calling one's is tidied. Takes a few
 * milliseconds when much is to be given back; threads that allocate may wait as long.
 */
void resident_return(void);

#endif
