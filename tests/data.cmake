# Reading recordings and making batches of them.
foreach(name npy recording data_check standardise batch cutmix blend sampler loader)
    npc_test(unit ${name} npc_runtime)
endforeach()
npc_test(fuzz fuzz_npy npc_runtime)
