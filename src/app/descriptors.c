#include "app/descriptors.h"

#include <sys/resource.h>

#include "net/http_server.h"

/* Listeners, loops, logs, name look-ups: more than a few dozen workers' worth. */
#define OTHER_DESCRIPTORS 256

void
descriptors_raise_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

uint64_t
descriptors_needed(unsigned max_connections, unsigned workers)
{
	if (max_connections == 0)
		return 0;
	return (uint64_t)max_connections * 2 +
	       (uint64_t)http_server_surplus_max(max_connections) * workers + OTHER_DESCRIPTORS;
}

void
descriptors_warn(struct log *log, unsigned max_connections, unsigned workers)
{
	uint64_t needed = descriptors_needed(max_connections, workers);
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY ||
	    limit.rlim_cur >= needed)
		return;
	log_event(
	        log, LOG_LEVEL_WARN, "few_descriptors",
	        "limit=%llu needed=%llu max_connections=%u remedy=\"raise the limit of open files "
	        "(ulimit -n), or lower server.max_connections\"",
	        (unsigned long long)limit.rlim_cur, (unsigned long long)needed, max_connections);
}
