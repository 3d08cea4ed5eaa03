/* The commands of the program: each gets its own arguments, argv[0] being its name, and gives the
 * exit code: 0 fine, 1 failure, 2 usage. */
#ifndef APP_COMMANDS_H
#define APP_COMMANDS_H

/* The model server to try things on. */
int command_simulate(int argc, char **argv);

#endif
