/* A program that embeds CPythons, each a library with a home: embed LIBRARY HOME [LIBRARY HOME]...
 *
 * In each run two threads of Python's and one of C's, all busy. Nothing is imported that lies in a file of its own: such a module
 * finds the interpreter only if it was loaded for all.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char script[] =
    "try:\n"
    "    import _thread\n"
    "except ImportError:\n"
    "    import thread as _thread\n"
    "def busy():\n"
    "    while True: pass\n"
    "for _ in range(2): _thread.start_new_thread(busy, ())\n";

struct interpreter {
    const char *library, *home;
    void *handle;
};

static void *symbol(const struct interpreter *one, const char *name)
{
    void *found = dlsym(one->handle, name);
    if (!found) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    return found;
}

static int run(const struct interpreter *one, const char *source)
{
    return ((int (*)(const char *, void *))symbol(one, "PyRun_SimpleStringFlags"))(source, NULL);
}

static void *busy(void *argument)
{
    const struct interpreter *one = argument;
    int (*ensure)(void) = (int (*)(void))symbol(one, "PyGILState_Ensure");
    void (*release)(int) = (void (*)(int))symbol(one, "PyGILState_Release");
    for (;;) {
        int state = ensure();
        run(one, "for _ in range(10000): pass");
        release(state);
    }
    return NULL;
}

static void start(struct interpreter *one)
{
    pthread_t thread;
    one->handle = dlopen(one->library, RTLD_NOW | RTLD_LOCAL);
    if (!one->handle) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    setenv("PYTHONHOME", one->home, 1);
    *(int *)symbol(one, "Py_NoSiteFlag") = 1;
    ((void (*)(int))symbol(one, "Py_InitializeEx"))(0);
    if (run(one, script) != 0)
        exit(1);
    ((void *(*)(void))symbol(one, "PyEval_SaveThread"))();
    if (pthread_create(&thread, NULL, busy, one) != 0)
        exit(1);
}

int main(int count, char **arguments)
{
    static struct interpreter all[8];
    for (int i = 1, next = 0; i + 1 < count && next < 8; i += 2, next++) {
        all[next].library = arguments[i];
        all[next].home = arguments[i + 1];
        start(&all[next]);
    }
    puts("ready");
    fflush(stdout);
    /* Until whoever started it is gone. */
    while (getchar() != EOF)
        continue;
    _exit(0);
}
