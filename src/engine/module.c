/* SPDX-License-Identifier: Apache-2.0 */
/*
 * offloader-engine.so, the only thing that is linked with DuckDB. It stands beside the program, and
 * only children load it; the serving process looks whether it is there, to say why they fail.
 */
#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "engine/build.h"
#include "engine/engine_int.h"

#define MODULE "offloader-engine.so"
#define DELETED " (deleted)" /* what the kernel adds to the path of a file that was replaced */

/* @ret_replaced (may be NULL): the program that runs is no longer the one on disk. */
static bool module_path(char ret[PATH_MAX], bool *ret_replaced)
{
    ssize_t n = readlink("/proc/self/exe", ret, PATH_MAX - sizeof "/" MODULE);
    if (n <= 0)
        return false;
    ret[n] = 0;
    if (ret_replaced)
        *ret_replaced = str_ends(str_from(ret), DELETED);
    char *slash = strrchr(ret, '/');
    (void)snprintf(slash + 1, PATH_MAX - (size_t)(slash + 1 - ret), MODULE);
    return true;
}

const char *module_problem(void)
{
    char path[PATH_MAX];
    bool replaced;
    if (!module_path(path, &replaced))
        return NULL;
    if (replaced)
        return "the program was replaced while it ran: restart it";
    if (access(path, R_OK) != 0)
        return MODULE " is not beside the program, or may not be read: install it again";
    return NULL;
}

/* ---- the child's entry ---- */

int engine_child_main(int argc, char **argv)
{
    char path[PATH_MAX];
    if (!module_path(path, NULL)) {
        fprintf(stderr, "offloader: cannot find this program's own path\n");
        return 1;
    }
    void *module = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
    if (!module) {
        fprintf(stderr, "offloader: cannot load the engine: %s\n", dlerror());
        return 1;
    }
    const char *build = dlsym(module, "offloader_engine_build");
    if (!build || strcmp(build, ENGINE_BUILD) != 0) {
        fprintf(stderr, "offloader: %s is of another build (%s) than this program (%s)\n", path,
                build ? build : "an unknown one", ENGINE_BUILD);
        return 1;
    }
    int (*run)(int, char **) = NULL;
    *(void **)&run = dlsym(module, "offloader_engine_main"); /* POSIX's way to get a function */
    if (!run) {
        fprintf(stderr, "offloader: the engine module is not this program's\n");
        return 1;
    }
    int status = run(argc, argv);
    /* No destructors and no leak check: the system takes a job's memory, DuckDB's included. */
    (void)fflush(NULL); /* what could not be said shows as a missing line */
    _exit(status);
}
