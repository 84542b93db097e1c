# Reading recordings and making batches of them.
foreach(name npy recording data_check standardise batch pack cutmix blend sampler loader)
    npc_test(unit ${name} npc_runtime)
endforeach()
npc_test(fuzz fuzz_npy npc_runtime)
# writes a file as the Allen Brain Observatory has them; skipped without HDF5
npc_test(unit import_allen npc_runtime)
if(HDF5_FOUND)
    target_link_libraries(test_import_allen PRIVATE PkgConfig::HDF5)
    target_compile_definitions(test_import_allen PRIVATE HAVE_HDF5)
endif()
