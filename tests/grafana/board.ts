// Grafana's types for a dashboard with the two kinds of panels that ours has. tests/with-prometheus
// appends the dashboard, so that the compiler names each unknown field and each value of a wrong
// type.
import type { Dashboard, GraphFieldConfig, Panel, RowPanel, VariableModel } from '@grafana/schema';
import type { Options as StatOptions } from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type { Options as TimeSeriesOptions } from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';

// Enums are plain values in JSON, and Grafana completes what is left out.
type Json<T> = T extends string
  ? `${T}`
  : T extends number | boolean | null | undefined
    ? T
    : T extends (infer Item)[]
      ? Json<Item>[]
      : T extends object
        ? { [Key in keyof T]: Json<T[Key]> }
        : T;

interface PrometheusQuery {
  refId: string;
  datasource: { type: 'prometheus'; uid: string };
  expr: string;
  legendFormat: string;
  editorMode: 'code' | 'builder';
  instant: boolean;
  range: boolean;
}

type Custom<Type extends string, Options, Field> = Omit<
  Panel<Options>,
  'type' | 'options' | 'targets' | 'fieldConfig' | 'transformations'
> & {
  type: Type;
  options: Options;
  targets: PrometheusQuery[];
  fieldConfig: {
    defaults: Omit<NonNullable<Panel['fieldConfig']>['defaults'], 'custom'> & Field;
    overrides: [];
  };
};

type Board = Omit<Dashboard, 'panels' | 'templating'> & {
  panels: (
    | Custom<'stat', Partial<StatOptions>, unknown>
    | Custom<'timeseries', TimeSeriesOptions, { custom: GraphFieldConfig }>
    | RowPanel
  )[];
  templating: { list: VariableModel[] };
};

export const board: Json<Board> =
