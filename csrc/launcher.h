#ifndef PYRUNC_LAUNCHER_H
#define PYRUNC_LAUNCHER_H

#include "kernel.h"

/* Go on as the interpreter kept in that file, with the arguments and the environment on `stack`. Returns where there is none
 * that fits.
 */
void resume(const char *dir, const char *name, const long *stack);

#endif
