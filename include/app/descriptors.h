/* File descriptors of the process. */
#ifndef APP_DESCRIPTORS_H
#define APP_DESCRIPTORS_H

/* As many as the system allows: each request needs two. */
void descriptors_raise_limit(void);

#endif
