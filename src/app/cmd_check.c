/*
 * `draft-thinker check`: reads the configuration as the gateway would, without starting
 * anything.
 *
 * Faults go to standard output, one a line, so that an editor or a pipeline can take them from
 * there; warnings and the last word go to standard error.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/commands.h"
#include "model/config.h"
#include "model/config_table.h"

enum { EXIT_USAGE = 2, VALUES_MAX = 128 };

static const char usage[] =
        "usage: draft-thinker check [-c FILE]\n"
        "       draft-thinker check --keys\n"
        "\n"
        "Validates the configuration file and prints every fault as FILE:LINE: path.to.key: text.\n"
        "Nothing is started and nothing is asked over the network.\n"
        "\n"
        "  -c, --config FILE  the file; default: config/draft-thinker.yaml, else the built-in "
        "defaults\n"
        "      --keys         print the keys that a file may have\n"
        "  -h, --help         print this\n"
        "\n"
        "Exit code: 0 the file is fine, 1 it has faults, 2 wrong usage.\n";

/* What a key may hold: its type, and its range or choices. */
static void
key_values(const struct config_key *key, char *out, size_t size)
{
	const char *type = config_type_name(key->type);

	if (key->choices)
		snprintf(out, size, "%s %s", type, key->choices);
	else if ((key->type >= KEY_COUNT && key->type <= KEY_MONEY) || key->type == KEY_PORT)
		snprintf(out, size, "%s %.15g to %.15g", type, key->min, key->max);
	else
		snprintf(out, size, "%s", type);
}

static void
print_keys(void)
{
	size_t count;
	const struct config_key *keys = config_keys(&count);

	for (size_t i = 0; i < count; i++) {
		const struct config_key *key = &keys[i];
		const char *block = config_block_path(key->block);
		char values[VALUES_MAX];

		key_values(key, values, sizeof(values));
		printf("%s%s%s (%s", block, *block ? "." : "", key->name, values);
		if (key->initial)
			printf("; default %s", key->initial);
		printf(")\n\t%s\n", key->help);
		if (key->stage == STAGE_LATER)
			printf("\tThis version does not %s yet.\n", key->stage_text);
	}
}

static int
check(const char *path)
{
	struct config_report report;
	struct config *config;

	config_report_init(&report);
	config = config_load(path, &report);
	fwrite(buf_bytes(&report.errors).p, 1, report.errors.n, stdout);
	fflush(stdout);
	fwrite(buf_bytes(&report.warnings).p, 1, report.warnings.n, stderr);
	if (config)
		fprintf(stderr, "%s: fine\n", path ? path : "built-in defaults");
	else
		fprintf(stderr, "%s: %u fault%s\n", path ? path : "built-in defaults",
		        report.error_count, report.error_count == 1 ? "" : "s");
	config_report_fini(&report);
	if (!config)
		return EXIT_FAILURE;
	config_unref(config);
	return ferror(stdout) ? EXIT_FAILURE : EXIT_SUCCESS;
}

int
command_check(int argc, char **argv)
{
	static const struct option options[] = {
	        {"config", required_argument, NULL, 'c'},
	        {"keys", no_argument, NULL, 'k'},
	        {"help", no_argument, NULL, 'h'},
	        {NULL, 0, NULL, 0},
	};
	const char *path = NULL;
	bool keys = false;
	int option;

	/* 0 makes getopt start afresh, whoever called it before. */
	optind = 0;
	while ((option = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
		switch (option) {
		case 'c': path = optarg; break;
		case 'k': keys = true; break;
		case 'h': fputs(usage, stdout); return EXIT_SUCCESS;
		default: fputs(usage, stderr); return EXIT_USAGE;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "draft-thinker check: unexpected argument `%s`\n%s", argv[optind],
		        usage);
		return EXIT_USAGE;
	}
	if (keys) {
		print_keys();
		return EXIT_SUCCESS;
	}
	return check(path ? path : config_default_path());
}
