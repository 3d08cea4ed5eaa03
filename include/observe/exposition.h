/* The parts that a Prometheus text exposition is made of. */
#ifndef OBSERVE_EXPOSITION_H
#define OBSERVE_EXPOSITION_H

#include "base/buf.h"

/* The two lines in front of a metric's samples; type: counter, gauge or histogram. */
void exposition_add_head(struct buf *out, const char *name, const char *type, const char *help);

/* Integers as integers, other numbers with as many digits as tell them apart, +Inf as such. */
void exposition_add_number(struct buf *out, double value);

/* A label's value, quoted and escaped. What is not UTF-8 may not stand there: its bytes beyond ASCII
 * become question marks. */
void exposition_add_label_value(struct buf *out, const char *value);

#endif
