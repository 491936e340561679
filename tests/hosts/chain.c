/* Three functions that call each other, to be built without frame pointers and without a C library. The last computes, or makes system calls. */

#include <sys/syscall.h>

__attribute__((noinline, noclone)) static long innermost(long rounds)
{
    volatile long sum = 0;
    for (long round = 0; round < rounds; round++)
        sum += round;
    for (long round = rounds; round < 0; round++) {
        long parent;
        __asm__ volatile("syscall" : "=a"(parent) : "0"(SYS_getppid) : "rcx", "r11", "memory");
        sum += parent;
    }
    return sum;
}

/* Aligns a stack of which it does not know the size, so that its caller is found by an expression. */
__attribute__((noinline, noclone)) static long middle(long rounds)
{
    _Alignas(64) volatile char room[192];
    volatile char *more = __builtin_alloca((unsigned long)rounds % 64 + 1);
    room[(unsigned long)rounds % 192] = 1;
    *more = 1;
    return innermost(rounds) + room[(unsigned long)rounds % 191] + *more;
}

__attribute__((noinline, noclone)) long compute(long rounds)
{
    volatile long room[16];
    room[(unsigned long)rounds % 16] = rounds;
    return middle(room[(unsigned long)rounds % 16]) + room[(unsigned long)rounds % 15];
}
