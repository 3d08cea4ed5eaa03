#include "route/intake.h"

#include <strings.h>

#include "net/http_server.h"

bool
intake_admit(struct service *service, const struct config_server *server, struct api_error *error)
{
	if (load_enter(service->requests, server->max_concurrent))
		return true;
	api_error_set(error, 503, NULL, "over_capacity",
	              "The gateway is at its limit of %u requests at a time.",
	              server->max_concurrent);
	error->retry_after_ms = 1000;
	return false;
}

bool
intake_check_encoding(const struct http_call *call, struct api_error *error)
{
	const char *encoding = http_call_header(call, "Content-Encoding");

	if (!encoding || strcasecmp(encoding, "identity") == 0)
		return true;
	api_error_set(error, 415, NULL, NULL,
	              "The body's Content-Encoding is not supported; send it as it is.");
	return false;
}
