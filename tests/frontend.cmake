npc_test(fuzz fuzz_nm npc_frontend)
npc_test(diag diag npc_frontend)
