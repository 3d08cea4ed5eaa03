/* What every request that is forwarded passes at the door. Worker's thread. */
#ifndef ROUTE_INTAKE_H
#define ROUTE_INTAKE_H

#include "route/service.h"
#include "wire/api_error.h"

/* Counts one more in service->requests, unless there are as many as may be: 503. The caller gives it back by
 * load_leave. */
bool intake_admit(struct service *service, const struct config_server *server,
                  struct api_error *error);

#endif
