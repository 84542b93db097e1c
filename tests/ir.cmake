npc_test(unit shape npc_ir)
npc_test(unit formula npc_ir)
npc_test(unit func npc_ir)
npc_test(unit session npc_ir)
npc_test(unit eval npc_ir)
npc_test(unit verify npc_ir)
npc_test(unit ir_text npc_ir)
npc_test(faults ir_memory npc_ir)
npc_test(ops gradients npc_ir)
npc_test(ops dropped_weights npc_ir)
npc_test(ops published_ops npc_ir npc_runtime)

# Random programs: for the tests of passes and code generators
add_library(npc_random_graph STATIC ops/random_graph.c ops/random_graph_leaf.c
            ops/random_graph_shrink.c)
target_link_libraries(npc_random_graph PUBLIC npc_ir)
npc_test(ops random_graph npc_random_graph)
