/* Streams, graphs, events and products of the simulated device. */
#include "tests/sim/sim_test.h"

#include "ir/storage.h"

int main(void)
{
    const struct CMUnitTest tests[] = {0};
    return cmocka_run_group_tests(tests, open_simulator, NULL);
}
