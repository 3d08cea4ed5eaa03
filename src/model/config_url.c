/* Addresses in the configuration: where providers are, and where to listen. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/bytes.h"
#include "model/config_text.h"

enum { HOST_NAME_MAX_BYTES = 253 };

static bool
is_host_name(struct bytes host)
{
	if (host.n == 0 || host.n > HOST_NAME_MAX_BYTES || host.p[0] == '.' || host.p[0] == '-')
		return false;
	for (size_t i = 0; i < host.n; i++) {
		char c = host.p[i];

		if (!(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') &&
		    c != '-' && c != '.' && c != '_')
			return false;
	}
	return true;
}

static bool
is_ipv6(struct bytes host)
{
	char copy[INET6_ADDRSTRLEN];
	struct in6_addr address;

	if (host.n >= sizeof(copy))
		return false;
	memcpy(copy, host.p, host.n);
	copy[host.n] = '\0';
	return inet_pton(AF_INET6, copy, &address) == 1;
}

/* Splits `host`, `host:port` or `[v6]:port`; port.p NULL when there is none. False when it is
 * neither. */
static bool
authority_split(struct bytes text, struct bytes *host, struct bytes *port)
{
	const char *end;

	*port = (struct bytes){NULL, 0};
	if (text.n > 0 && text.p[0] == '[') {
		end = memchr(text.p, ']', text.n);
		if (!end)
			return false;
		*host = (struct bytes){text.p + 1, (size_t)(end - text.p - 1)};
		if (!is_ipv6(*host))
			return false;
		end++;
	} else {
		end = memchr(text.p, ':', text.n);
		end = end ? end : text.p + text.n;
		*host = (struct bytes){text.p, (size_t)(end - text.p)};
	}
	if (end == text.p + text.n)
		return true;
	if (*end != ':')
		return false;
	*port = (struct bytes){end + 1, (size_t)(text.p + text.n - end - 1)};
	return true;
}

/* The part between the scheme and the path; false when the scheme is neither http nor https. */
static bool
url_authority(const char *url, struct bytes *authority)
{
	const char *p = url;

	if (strncmp(p, "http://", 7) == 0)
		p += 7;
	else if (strncmp(p, "https://", 8) == 0)
		p += 8;
	else
		return false;
	*authority = (struct bytes){p, strcspn(p, "/?#")};
	return true;
}

const char *
config_url_problem(const char *url)
{
	struct bytes authority, host, port;
	uint64_t number;

	if (!url_authority(url, &authority))
		return "must begin with http:// or https://";
	for (const char *p = url; *p; p++) {
		if (*p <= 0x20 || *p >= 0x7F)
			return "may hold only visible ASCII characters";
	}
	if (memchr(authority.p, '@', authority.n))
		return "may not hold a user or password; use api_key";
	if (strpbrk(url, "?#"))
		return "may not hold a query or fragment";
	if (!authority_split(authority, &host, &port) ||
	    !(authority.p[0] == '[' || is_host_name(host)))
		return "has no valid host";
	if (port.p && (!bytes_to_u64(port, 65535, &number) || number == 0))
		return "has a port that is not between 1 and 65535";
	return NULL;
}

bool
config_url_is_openai(const char *url)
{
	struct bytes authority, host, port;

	if (strncmp(url, "https://", 8) != 0 || !url_authority(url, &authority) ||
	    !authority_split(authority, &host, &port))
		return false;
	return host.n == strlen("api.openai.com") &&
	       strncasecmp(host.p, "api.openai.com", host.n) == 0;
}

const char *
config_address_split(const char *text, char *host, size_t size, uint16_t *port)
{
	struct bytes name, number;
	uint64_t value;
	bool everywhere;

	if (!authority_split(bytes_of(text), &name, &number) || !number.p)
		return "must be HOST:PORT, such as 127.0.0.1:8080, \"[::1]:8080\" or \"*:8080\"";
	if (!bytes_to_u64(number, 65535, &value))
		return "the port must be between 0 and 65535";
	everywhere = text[0] != '[' && (name.n == 0 || bytes_is(name, "*"));
	if ((!everywhere && text[0] != '[' && !is_host_name(name)) || name.n >= size)
		return "the host is no name and no address";
	if (everywhere)
		name = bytes_of("*");
	memcpy(host, name.p, name.n);
	host[name.n] = '\0';
	*port = (uint16_t)value;
	return NULL;
}
