/*
 * The values of one label that clients choose: the first LABEL_SET_MAX stay as they are, all later ones become
 * "other", so that nobody can make a metric grow without bound. Owned by the metrics and guarded by their mutex.
 */
#ifndef OBSERVE_LABEL_SET_H
#define OBSERVE_LABEL_SET_H

enum { LABEL_SET_MAX = 1000, LABEL_SET_PLACES = 2048 };

struct label_set {
	char *values[LABEL_SET_PLACES]; /* owned; by hash; NULL: free */
	unsigned count;
};

void label_set_fini(struct label_set *set);

/* The value to count under, borrowed: the set's own copy, or a static "other". */
const char *label_set_admit(struct label_set *set, const char *value);

#endif
