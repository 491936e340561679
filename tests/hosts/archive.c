/* A program that CPython's archive is linked into, of which it exports nothing: archive HOME. Three busy threads. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* As every CPython declares them. */
extern int Py_NoSiteFlag;
extern void Py_InitializeEx(int);
extern int PyRun_SimpleStringFlags(const char *, void *);
extern void *PyEval_SaveThread(void);

static const char script[] =
    "try:\n"
    "    import _thread\n"
    "except ImportError:\n"
    "    import thread as _thread\n"
    "def busy():\n"
    "    while True: pass\n"
    "for _ in range(3): _thread.start_new_thread(busy, ())\n";

int main(int count, char **arguments)
{
    if (count != 2)
        return 2;
    setenv("PYTHONHOME", arguments[1], 1);
    Py_NoSiteFlag = 1;
    Py_InitializeEx(0);
    if (PyRun_SimpleStringFlags(script, NULL) != 0)
        return 1;
    PyEval_SaveThread();
    puts("ready");
    fflush(stdout);
    /* Until whoever started it is gone. */
    while (getchar() != EOF)
        continue;
    _exit(0);
}
