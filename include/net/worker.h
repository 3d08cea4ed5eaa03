/*
 * A worker: one thread's event loop and what hangs off it. Everything a worker owns is touched by
 * its thread alone; worker_post and worker_stop are the only calls other threads may make.
 */
#ifndef NET_WORKER_H
#define NET_WORKER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"

struct worker;
struct event_base;

/* log: borrowed. NULL when the loop cannot be made (descriptors, memory). */
struct worker *worker_new(unsigned index, struct log *log);

/* Frees it after worker_run returned (or before it was called), what was buried included. */
void worker_free(struct worker *worker);

/* Runs the loop in the calling thread until worker_stop (true) or worker_leave (false, and it may be run
 * again); tasks posted before that are all run. */
bool worker_run(struct worker *worker);

/* Its own thread: ends worker_run after the current turn. */
void worker_leave(struct worker *worker);

/*
 * Makes the loop anew while it does not run: libevent's tables only ever grow. leave(arg) takes everything off
 * the old loop, enter(arg) puts it onto the one that there is then. False: there was no descriptor for a new
 * one (nothing was called), or something had stayed on the old one, which goes on.
 */
bool worker_renew(struct worker *worker, void (*leave)(void *arg), void (*enter)(void *arg),
                  void *arg);

/* Any thread: ends worker_run after the current turn. */
void worker_stop(struct worker *worker);

/* Any thread: calls run(arg) on the worker's thread, in the order posted. */
void worker_post(struct worker *worker, void (*run)(void *arg), void *arg);

/* Runs what was posted since worker_run returned, for who then still wants it done. */
void worker_run_posted(struct worker *worker);

unsigned worker_index(const struct worker *worker);
struct log *worker_log(const struct worker *worker);

/* Monotonic microseconds. */
uint64_t worker_now_us(struct worker *worker);

/* Calls destroy(p) once the callback now running has returned to the loop: for objects that code on the
 * stack may still touch. */
void worker_bury(struct worker *worker, void *p, void (*destroy)(void *p));

/* For the other files of net/ only: a socket of the worker's has this number. Tell it of each. */
void worker_note_fd(struct worker *worker, int fd);

/* For the other files of net/ only. */
struct event_base *worker_base(struct worker *worker);

#endif
