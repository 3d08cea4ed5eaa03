/*
 * The server's side of TLS: a certificate chain and its key, read from files once, used for every
 * connection accepted from then on. For the files of net/ only.
 */
#ifndef NET_TLS_H
#define NET_TLS_H

#include <stdbool.h>
#include <stddef.h>

struct bufferevent;
struct event_base;
struct tls_server;

/* Reads both PEM files. NULL with a message in error[size] when they cannot be used. */
struct tls_server *tls_server_new(const char *certificate, const char *key, char *error,
                                  size_t size);

/* Connections made from it live on. NULL is allowed. */
void tls_server_free(struct tls_server *tls);

/* A bufferevent without a socket yet that will shake hands as the server; it closes its socket when
 * freed. NULL when memory is out. */
struct bufferevent *tls_server_bufferevent(struct tls_server *tls, struct event_base *base);

/* Tells the peer that nothing more will come (close_notify), if bev speaks TLS. */
void tls_close_notify(struct bufferevent *bev);

#endif
