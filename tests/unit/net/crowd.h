/*
 * A server for many connections at once: it answers only when `barrier` requests wait, all of
 * them together, so that a test knows how many were open at the same time.
 */
#ifndef CROWD_H
#define CROWD_H

#include "peer.h"

enum { CROWD_MAX = 512 };

struct crowd {
	struct peer peer; /* its listener and thread */
	int barrier;
	const char *answer;
	int fds[CROWD_MAX];
	bool waits[CROWD_MAX];
	int count, waiting;
};

static inline void
crowd_answer(struct crowd *crowd)
{
	for (int i = 0; i < crowd->count; i++) {
		if (!crowd->waits[i])
			continue;
		crowd->waits[i] = false;
		crowd->peer.fd = crowd->fds[i];
		peer_send(&crowd->peer, crowd->answer);
	}
	crowd->waiting = 0;
	crowd->peer.fd = -1;
}

static inline void
crowd_read(struct crowd *crowd, int i)
{
	crowd->peer.fd = crowd->fds[i];
	if (peer_read_request(&crowd->peer)) {
		crowd->waits[i] = true;
		if (++crowd->waiting == crowd->barrier)
			crowd_answer(crowd);
	} else {
		close(crowd->fds[i]);
		crowd->count--;
		crowd->fds[i] = crowd->fds[crowd->count];
		crowd->waits[i] = crowd->waits[crowd->count];
	}
	crowd->peer.fd = -1;
}

static inline void
script_crowd(struct peer *peer)
{
	struct crowd *crowd = peer->arg;
	struct pollfd polls[CROWD_MAX + 1];

	while (!atomic_load(&peer->stop)) {
		polls[0] = (struct pollfd){.fd = peer->listener, .events = POLLIN};
		for (int i = 0; i < crowd->count; i++)
			polls[i + 1] = (struct pollfd){.fd = crowd->fds[i], .events = POLLIN};
		if (poll(polls, (nfds_t)crowd->count + 1, PEER_PATIENCE_MS) <= 0)
			break;
		/* From the last, since a closed one's place is taken by the last. */
		for (int i = crowd->count - 1; i >= 0; i--) {
			if (polls[i + 1].revents)
				crowd_read(crowd, i);
		}
		if (polls[0].revents && crowd->count < CROWD_MAX && peer_accept(peer)) {
			crowd->fds[crowd->count++] = peer->fd;
			peer->fd = -1;
		}
	}
	while (crowd->count > 0)
		close(crowd->fds[--crowd->count]);
}

static inline void
crowd_start(struct crowd *crowd, int barrier, const char *answer)
{
	*crowd = (struct crowd){.barrier = barrier, .answer = answer};
	peer_start(&crowd->peer, script_crowd, crowd);
}

static inline void
crowd_stop(struct crowd *crowd)
{
	peer_stop(&crowd->peer);
}

#endif
