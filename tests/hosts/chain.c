/* Three functions that call each other, to be built without frame pointers and without a C library. */

__attribute__((noinline, noclone)) static long innermost(long rounds)
{
    volatile long sum = 0;
    for (long round = 0; round < rounds; round++)
        sum += round;
    return sum;
}

/* Aligns a stack of which it does not know the size, so that its caller is found by an expression. */
__attribute__((noinline, noclone)) static long middle(long rounds)
{
    _Alignas(64) volatile char room[192];
    volatile char *more = __builtin_alloca(rounds % 64 + 1);
    room[rounds % 192] = 1;
    *more = 1;
    return innermost(rounds) + room[rounds % 191] + *more;
}

__attribute__((noinline, noclone)) long compute(long rounds)
{
    volatile long room[16];
    room[rounds % 16] = rounds;
    return middle(room[rounds % 16]) + room[rounds % 15];
}
