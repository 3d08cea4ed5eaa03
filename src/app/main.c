#include <stdio.h>
#include <string.h>

#include "app/commands.h"

static const char usage[] =
        "usage: draft-thinker [-c FILE]                run the gateway\n"
        "       draft-thinker check [-c FILE]          validate the configuration\n"
        "       draft-thinker simulate [OPTION…]       run a model server to try things on\n"
        "       draft-thinker explain [OPTION…] PROMPT  show how a draft is scored\n"
        "       draft-thinker --version | --help\n"
        "\n"
        "Without -c the file is config/draft-thinker.yaml if there is one, else built-in "
        "defaults.\n"
        "Every command has --help. Manual: draft-thinker(1), draft-thinker.yaml(5).\n";

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
} commands[] = {
        {"check", command_check},
        {"simulate", command_simulate},
        {"explain", command_explain},
};

int
main(int argc, char **argv)
{
	if (argc >= 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
		fputs(usage, stdout);
		return 0;
	}
	if (argc >= 2 && (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)) {
		puts("draft-thinker " DT_VERSION);
		return 0;
	}
	if (argc < 2 || argv[1][0] == '-')
		return command_run(argc, argv);
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(argv[1], commands[i].name) == 0)
			return commands[i].run(argc - 1, argv + 1);
	}
	fprintf(stderr, "draft-thinker: unknown command `%s`\n\n%s", argv[1], usage);
	return 2;
}
