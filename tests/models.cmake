# Models and operations against published numbers. Long: every fusion level on every vector unit.
npc_test(models verify npc_tool)
set_tests_properties(models.verify PROPERTIES TIMEOUT 3600)
