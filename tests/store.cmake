foreach(name safetensors checkpoint run_dir tensorboard progress picture schedule signals)
    npc_test(unit ${name} npc_runtime)
endforeach()
npc_test(fuzz fuzz_safetensors npc_runtime)
