/* The products again, cut as for a device that a block fills: blocks walk several tiles, small
 * operands stay in shared memory, and all loads are issued ahead. */
#define CONTRACT_FULL_DEVICE 1
#define CONTRACT_LARGE 1
#include "codegen/cuda_contract.c"

#define MORE_TESTS cmocka_unit_test(every_way_of_cutting_is_among_them),
static void every_way_of_cutting_is_among_them(void **state);
#include "tests/sim/test_sim_products.c"

static void every_way_of_cutting_is_among_them(void **state)
{
    (void)state;
    static const Make makes[] = {random_conv, random_weight_gradient, random_matrices};
    ProductStyle style = channels_last();
    int walks = 0, resident = 0, ahead = 0, columns = 0, of_row = 0, of_k = 0, sums = 0;
    for (int kind = 0; kind < 3; kind++) {
        Random r = {(uint64_t)kind + 1};
        for (int i = 0; i < 40; i++) {
            Arena arena = {0};
            CudaContract c;
            int64_t terms;
            TileProgram *p = makes[kind](&arena, &r, &style, &terms);
            make_precise(p, &r);
            if (contract_plan(&c, p)) {
                walks += c.walk > 1;
                resident += c.b.resident;
                ahead += c.ahead.n > 0 && c.walk > 1;
                columns += c.n_of_column > 0;
                of_row += c.a.n_of_row > 0 || c.b.n_of_row > 0;
                of_k += c.a.n_of_k > 0 || c.b.n_of_k > 0;
                sums += c.sums.n > 0 && c.walk > 1;
            }
            arena_free(&arena);
        }
    }
    print_message("%d walk, %d keep b, %d load results ahead, tables of columns %d, rows %d, k %d, "
                  "%d sum while walking\n",
                  walks, resident, ahead, columns, of_row, of_k, sums);
    assert_true(walks > 1 && resident > 1 && ahead > 1 && columns > 1 && of_row > 1 && of_k > 1 &&
                sums > 1);
}
