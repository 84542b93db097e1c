# Passes, fusion and the memory plan over random programs: interpreted, then compiled
add_library(npc_plan_check STATIC ops/plan_check.c)
target_link_libraries(npc_plan_check PUBLIC npc_passes npc_random_graph)
npc_test(ops plans npc_plan_check)
npc_test(ops plans_compiled npc_plan_check npc_codegen)
