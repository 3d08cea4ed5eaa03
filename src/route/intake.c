#include "route/intake.h"

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
