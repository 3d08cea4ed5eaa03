/* The commands of the program. Each gets its own arguments, argv[0] being the command's name, and
 * returns the exit status: 0 fine, 1 runtime failure, 2 usage. */
#ifndef APP_COMMANDS_H
#define APP_COMMANDS_H

int command_run(int argc, char **argv);
int command_check(int argc, char **argv);
int command_simulate(int argc, char **argv);
int command_explain(int argc, char **argv);

#endif
