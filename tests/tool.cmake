# The command-line tool.
npc_test(unit options npc_runtime)
