/* A program that embeds CPythons, each a library with a home: embed LIBRARY HOME [LIBRARY HOME]...
 *
 * In each run two threads of Python's and one of C's, all busy. With the first argument "again" one interpreter is started and
 * ended over and over instead: after each line on standard input once, with three threads that are busy for a while. Nothing is imported that lies in a file of its own: such a module
 * finds the interpreter only if it was loaded for all.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char script[] =
    "try:\n"
    "    import _thread\n"
    "except ImportError:\n"
    "    import thread as _thread\n"
    "def busy():\n"
    "    while True: pass\n"
    "for _ in range(2): _thread.start_new_thread(busy, ())\n";

static const char busy_for_a_while[] =
    "try:\n"
    "    import _thread\n"
    "except ImportError:\n"
    "    import thread as _thread\n"
    "def busy(done):\n"
    "    for _ in range(3000000): pass\n"
    "    done.release()\n"
    "locks = []\n"
    "for _ in range(3):\n"
    "    done = _thread.allocate_lock()\n"
    "    done.acquire()\n"
    "    locks.append(done)\n"
    "    _thread.start_new_thread(busy, (done,))\n"
    "for done in locks: done.acquire()\n";

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
        /* Longer than a switch interval, so that it is made to give way: one that only lets go may have it back at once, every time. */
        run(one, "i = 0\nwhile i < 300000: i += 1");
        release(state);
    }
    return NULL;
}

static void initialise(struct interpreter *one)
{
    setenv("PYTHONHOME", one->home, 1);
    *(int *)symbol(one, "Py_NoSiteFlag") = 1;
    ((void (*)(int))symbol(one, "Py_InitializeEx"))(0);
}

static void load(struct interpreter *one, char **arguments)
{
    one->library = arguments[0];
    one->home = arguments[1];
    one->handle = dlopen(one->library, RTLD_NOW | RTLD_LOCAL);
    if (!one->handle) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
}

static void start(struct interpreter *one)
{
    pthread_t thread;
    initialise(one);
    if (run(one, script) != 0)
        exit(1);
    ((void *(*)(void))symbol(one, "PyEval_SaveThread"))();
    if (pthread_create(&thread, NULL, busy, one) != 0)
        exit(1);
}

static void again(struct interpreter *one)
{
    initialise(one);
    puts("ready");
    fflush(stdout);
    for (int round = 1; getchar() != EOF; round++) {
        if (run(one, busy_for_a_while) != 0)
            exit(1);
        ((void (*)(void))symbol(one, "Py_Finalize"))();
        printf("ended %d times\n", round);
        fflush(stdout);
        initialise(one);
    }
    exit(0);
}

int main(int count, char **arguments)
{
    static struct interpreter all[8];
    if (count == 4 && strcmp(arguments[1], "again") == 0) {
        load(&all[0], arguments + 2);
        again(&all[0]);
    }
    for (int i = 1, next = 0; i + 1 < count && next < 8; i += 2, next++) {
        load(&all[next], arguments + i);
        start(&all[next]);
    }
    puts("ready");
    fflush(stdout);
    /* Until whoever started it is gone. */
    while (getchar() != EOF)
        continue;
    _exit(0);
}
