/*
 * The commands. argv[0] is the command's own name. The result is the process's exit code: 0 fine,
 * 1 failure, 2 usage.
 */
#ifndef APP_COMMANDS_H
#define APP_COMMANDS_H

int command_check(int argc, char **argv);

#endif
